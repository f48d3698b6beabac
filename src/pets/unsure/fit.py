"""The rule of a run for photos that it is not sure of: fitted in one pass, then read again."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from pets.config import UnsureConfig
from pets.data.dataset import PhotoDataset, PhotoFiles
from pets.data.photos import Photo
from pets.data.splits import TEST, TRAIN, VALID
from pets.data.transforms import CentreCrop, normalize
from pets.data.workers import worker_options
from pets.distributed.process_group import leader_first
from pets.errors import RunError
from pets.models.classifier import Classifier, as_vectors
from pets.run_dir import RunDir
from pets.training.checkpoints import Trained
from pets.training.looks import count_look, looks_at
from pets.training.table import contents_of_test
from pets.unsure.calibration import Calibration, HeldOut, Promise, check_photos, raw_distances
from pets.unsure.conformal import Floats
from pets.unsure.novelty import fit_typical

log = logging.getLogger(__name__)
_FORMAT = "1"
_FOLDER = "unsure"
# Training photos, of all classes together: more would hardly change the typical features.
_MOST_TRAINING = 20_000
_LEAST_OF_CLASS = 20  # training photos that a class may have, however many classes there are


def promise_of(
    trained: Trained,
    ckpt: str,
    config: UnsureConfig,
    root: str | None,
    device: torch.device,
    batch_size: int,
    num_workers: int | str,
) -> Promise | None:
    """Return the run's rule for the config's coverage, and log what it reaches; None without one.

    The first call for a checkpoint passes the run's photos through the network, and keeps the
    calibration in the run. All ranks have to call this.

    Args:
        trained: The trained run.
        ckpt: The checkpoint that its weights are from.
        config: Whether there is a rule, its coverage and its share of false alarms.
        root: Where the run's photos are now; None if they have not moved.
        device: Where the network runs.
        batch_size: Photos per forward pass.
        num_workers: Number of processes that load photos, or auto.

    Raises:
        ConfigError: The run has too few validation photos for what is to be promised.
        DataError: Photos are missing or changed.
        RunError: The run has no validation photos, or its table of photos does not fit.
    """
    if config.unsure is None:
        return None
    run = trained.run
    data = run.read_json("data.json")
    if not data.get(VALID):
        raise RunError(
            f"unsure={config.unsure}: {run.path} has no validation photos, which a promise needs; "
            "expected a run that was trained with some (data.valid_pct=0.2, or a list of its own "
            "with data.split)"
        )
    check_photos(data[VALID], config.coverage, config.false_alarms)
    groups = data.get("superclasses", {})
    classes = trained.model.classes
    superclasses = [groups.get(name) for name in classes]
    file = run.path / _FOLDER / f"{ckpt}.safetensors"
    with run.checkpoint(ckpt).open("rb") as stream:
        weights = hashlib.file_digest(stream, "sha256").hexdigest()
    about = {"format": _FORMAT, "weights": weights, "photos": str(data.get("fingerprint"))}

    def load_or_fit() -> Calibration:
        known = Calibration.load(file, about, classes, superclasses)
        if known is not None:
            return known
        fitted = _fit(trained, superclasses, root, device, batch_size, num_workers)
        try:
            fitted.save(file, about)
        except OSError as error:
            log.warning(
                "%s: cannot be written (%s); it will be computed again next time",
                file, error.strerror or error,
            )  # fmt: skip
        return fitted

    promise = leader_first(load_or_fit).promise(config.coverage, config.false_alarms)
    _log_reached(promise, run)
    if ckpt == "best":
        log.info("ckpt=best was chosen on the validation photos: a little less may be reached")
    return promise


def _log_reached(promise: Promise, run: RunDir) -> None:
    """Log what the rule reached, and what to be careful of in these numbers."""
    log.info("%s", promise.summary)
    if promise.on_test and (run.path / "photos.csv").exists():  # a deployed copy may lack it
        log.info("these test photos were %s", looks_at(contents_of_test(run), run))
    if promise.broken:
        log.warning(
            "%s: the test photos miss it by more than chance: they probably differ from the "
            "validation photos, and other photos may, too", promise.broken,
        )  # fmt: skip


def _fit(
    trained: Trained,
    superclasses: list[str | None],
    root: str | None,
    device: torch.device,
    batch_size: int,
    num_workers: int | str,
) -> Calibration:
    """Fit the calibration by one pass of the run's photos."""
    # Imported late, since it imports Lightning, which a calibration that is only read can spare.
    from pets.training.evaluation import check_same_classes, photos_of_run

    photos = photos_of_run(trained.run, root or trained.config.data.root, TRAIN, VALID)
    check_same_classes(trained, photos)
    model = trained.model.eval().to(device)
    training = _sample(photos.of(TRAIN), len(model.classes))
    rows = [*training, *photos.of(VALID), *photos.of(TEST)]
    log.info("unsure=auto: %s photos pass through the network, once", f"{len(rows):,}")
    files = [photos.root / row.path for row in rows]
    logits, features = logits_and_features(model, files, device, batch_size, num_workers)
    scaled = torch.from_numpy(logits) / (trained.temperature or 1.0)
    probabilities = scaled.softmax(1).numpy().astype(np.float32)
    labels = np.array([model.classes.index(row.label) for row in rows], np.int64)
    train = _indices_of(rows, TRAIN)
    typical = fit_typical(features[train], labels[train], len(model.classes))

    def held_out(split: str) -> HeldOut:
        indices = _indices_of(rows, split)
        distances = raw_distances(typical, features[indices]).astype(np.float32)
        return HeldOut(probabilities[indices], labels[indices], distances)

    valid, test = held_out(VALID), held_out(TEST)
    if len(test):
        count_look(trained.run, contents_of_test(trained.run), "unsure")
    return Calibration(model.classes, superclasses, typical, valid, test)


def _sample(rows: Sequence[Photo], classes: int) -> list[Photo]:
    """Return a random sample of the photos with few of each class, always the same one.

    A class has at most an equal share of `_MOST_TRAINING`, or `_LEAST_OF_CLASS` if that is more.
    """
    most = max(_MOST_TRAINING // classes, _LEAST_OF_CLASS)
    sample, counts = list[Photo](), Counter[str]()
    for index in np.random.default_rng(0).permutation(len(rows)):
        counts[rows[index].label] += 1
        if counts[rows[index].label] <= most:
            sample.append(rows[index])
    return sample


def _indices_of(rows: Sequence[Photo], split: str) -> list[int]:
    return [index for index, row in enumerate(rows) if row.split == split]


@torch.inference_mode()
def logits_and_features(
    model: Classifier,
    files: list[Path],
    device: torch.device,
    batch_size: int,
    num_workers: int | str,
) -> tuple[Floats, Floats]:
    """Return the logits (N, classes) and pooled features (N, C) of photos as float64."""
    crop = CentreCrop(model.size, model.preprocess)
    cropped = PhotoDataset(PhotoFiles(files), [0] * len(files), crop)
    workers = worker_options("auto" if num_workers == "auto" else int(num_workers))
    prepare, found = normalize(model.preprocess), list[tuple[Floats, Floats]]()
    with tqdm(total=len(files), unit="photo", leave=False, disable=None) as bar:
        for pictures, _ in DataLoader(cropped, batch_size, **workers):
            pooled = model.pooled(prepare(pictures.to(device)))
            found.append((_floats(model.head(pooled)), _floats(as_vectors(pooled))))
            bar.update(len(pictures))
    logits, features = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(features)


def _floats(values: Tensor) -> Floats:
    floats: Floats = values.cpu().double().numpy()
    return floats
