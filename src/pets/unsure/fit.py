"""Fit a run's calibration in one pass of its photos, or read it where that was done before."""

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
from pets.training.checkpoints import Trained
from pets.training.looks import contents_of_test, count_look, looks_at
from pets.unsure.calibration import Calibration, HeldOut, Promise, check_photos
from pets.unsure.conformal import Floats
from pets.unsure.novelty import fit_typical

log = logging.getLogger(__name__)
FORMAT = "1"
FOLDER = "unsure"
_TRAINING = 20_000  # training photos are enough for what is typical


def promise_of(
    trained: Trained,
    ckpt: str,
    config: UnsureConfig,
    root: str | None,
    device: torch.device,
    batch_size: int,
    num_workers: int | str,
) -> Promise | None:
    """Return the run's rule at the config's coverage; None if the config asks for none.

    The first call for a checkpoint passes the run's photos through the network and keeps what it
    learned in the run. Every rank calls this.

    Args:
        trained: The trained run.
        ckpt: Which checkpoint its weights are from.
        config: The coverage and the share of false alarms.
        root: Where the run's photos are now, if they have moved.
        device: Where the network runs.
        batch_size: Photos per forward pass.
        num_workers: Processes that load photos, or auto.

    Raises:
        ConfigError: The run has too few validation photos for the coverage.
        DataError: Photos are missing or changed.
        RunError: The run has no validation photos, or its table of photos does not fit.
    """
    if config.unsure is None:
        return None
    run = trained.run
    held_out = run.read_json("data.json")
    if not held_out.get(VALID):
        raise RunError(
            f"unsure={config.unsure}: {run.path} has no validation photos, which a promise needs; "
            "expected a run that was trained with some (data.valid_pct=0.2, or a list of its own "
            "with data.split)"
        )
    check_photos(held_out[VALID], config.coverage, config.false_alarms)
    groups = held_out.get("superclasses", {})
    classes = trained.model.classes
    superclasses = [groups.get(name) for name in classes]
    file = run.path / FOLDER / f"{ckpt}.safetensors"
    with run.checkpoint(ckpt).open("rb") as stream:
        weights = hashlib.file_digest(stream, "sha256").hexdigest()
    about = {"format": FORMAT, "weights": weights, "photos": str(held_out.get("fingerprint"))}

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
    log.info("%s", promise.summary)
    if promise.on_test and (run.path / "photos.csv").exists():  # a deployed copy may lack it
        log.info("these test photos were %s", looks_at(contents_of_test(run), run))
    if promise.on_test and promise.reached is not None and not promise.reached.is_kept:
        log.warning(
            "the promise is not kept on the test photos: they differ from the validation photos, "
            "so other photos may differ, too"
        )
    if ckpt == "best":
        log.info("ckpt=best was chosen on the validation photos: a little less may be reached")
    return promise


def _fit(
    trained: Trained,
    superclasses: list[str | None],
    root: str | None,
    device: torch.device,
    batch_size: int,
    num_workers: int | str,
) -> Calibration:
    # It imports Lightning, which a run that is fitted already does not need.
    from pets.training.evaluation import check_same_classes, photos_of_run

    photos = photos_of_run(trained.run, root or trained.config.data.root, TRAIN, VALID)
    check_same_classes(trained, photos)
    model = trained.model.eval().to(device)
    training = _some(photos.of(TRAIN), _TRAINING // len(model.classes))
    rows = [*training, *photos.of(VALID), *photos.of(TEST)]
    log.info("unsure=auto: %s photos pass through the network, once", f"{len(rows):,}")
    files = [photos.root / row.path for row in rows]
    logits, features = outputs(model, files, device, batch_size, num_workers)
    scaled = torch.from_numpy(logits) / (trained.temperature or 1.0)
    probabilities = scaled.softmax(1).numpy().astype(np.float32)
    labels = np.array([model.classes.index(row.label) for row in rows], np.int64)
    train = _rows_of(rows, TRAIN)
    typical = fit_typical(features[train], labels[train], len(model.classes))
    empty = HeldOut(probabilities[:0], labels[:0], np.zeros(0, np.float32))
    fitted = Calibration(model.classes, superclasses, typical, empty, empty)
    parts = {}
    for split in (VALID, TEST):
        its = _rows_of(rows, split)
        far = fitted.distances(features[its]).astype(np.float32)
        parts[split] = HeldOut(probabilities[its], labels[its], far)
    if parts[TEST].labels.size:
        count_look(trained.run, contents_of_test(trained.run), "unsure")
    return Calibration(model.classes, superclasses, typical, parts[VALID], parts[TEST])


def _some(rows: Sequence[Photo], of_class: int) -> list[Photo]:
    """Return at most so many photos of each class, but at least 20."""
    taken, counts = list[Photo](), Counter[str]()
    for index in np.random.default_rng(0).permutation(len(rows)):
        counts[rows[index].label] += 1
        if counts[rows[index].label] <= max(of_class, 20):
            taken.append(rows[index])
    return taken


def _rows_of(rows: Sequence[Photo], split: str) -> list[int]:
    return [index for index, row in enumerate(rows) if row.split == split]


@torch.inference_mode()
def outputs(
    model: Classifier,
    files: list[Path],
    device: torch.device,
    batch_size: int,
    num_workers: int | str,
) -> tuple[Floats, Floats]:
    """Return the logits (N, classes) and pooled features (N, C) of photos, float64."""
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
