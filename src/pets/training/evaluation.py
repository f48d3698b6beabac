"""Evaluate a classifier on a split; choose the photos that a trained run is evaluated on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from pets.config import ExternalDataConfig
from pets.data.external import external_photos, result_name
from pets.data.photos import OTHER, SPLITS, LocatedPhotos, Photos, locate_photos
from pets.data.splits import TEST, TRAIN, VALID
from pets.distributed.process_group import all_gather
from pets.errors import ConfigError, DataError, RunError, some
from pets.io.serialize import to_argument
from pets.run_dir import RunDir
from pets.training.checkpoints import Trained
from pets.training.datamodule import PetsDataModule
from pets.training.module import ClassifierModule
from pets.training.table import CHANGED, load_table

log = logging.getLogger(__name__)


def measure(
    module: ClassifierModule, data: PetsDataModule, split: str, trainer: Trainer
) -> dict[str, Any]:
    """Return the metrics of `SplitMetrics.compute` for the photos of a split."""
    data.measured = split
    trainer.test(module, datamodule=data, verbose=False)
    return module.measured


def log_probabilities(
    module: ClassifierModule, data: PetsDataModule, split: str, trainer: Trainer
) -> Tensor:
    """Return the log-probabilities (photos, classes) of a split on every rank.

    They are in the table's order.
    """
    kept: list[Tensor] = []
    hook = module.register_forward_hook(
        lambda _, inputs, logits: kept.append(logits.detach().float().log_softmax(1).cpu())
    )
    try:
        measure(module, data, split, trainer)
    finally:
        hook.remove()
    # Each rank has every world-th photo.
    parts = all_gather(torch.cat(kept))
    whole = torch.empty(sum(map(len, parts)), parts[0].shape[1])
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole


def check_same_classes(trained: Trained, photos: Photos) -> None:
    """Raise RunError if the classes of the run's own photos are not those of its model."""
    if photos.classes != trained.model.classes:
        raise RunError(
            f"{trained.run.path / 'photos.csv'}: its classes ({some(photos.classes)}) are not the "
            f"model's ({some(trained.model.classes)}); it is damaged, or of another run"
        )


def find_photos(run: RunDir, root: str) -> LocatedPhotos:
    """Find the run's own photos below `root`. Raises DataError, RunError."""
    table = load_table(run, run.root(root))
    found = locate_photos(table)
    if found.renamed:
        log.info(
            "%s: %s of the run's photos have other names here; they keep the run's labels",
            table.root, f"{found.renamed:,}",
        )  # fmt: skip
    return found


def photos_of_run(run: RunDir, root: str, *needed: str) -> Photos:
    """Find the run's own photos below `root`, with all photos of the splits `needed`.

    Other photos that are missing or changed are reported and skipped.

    Raises:
        DataError: A needed photo is missing or has changed, or there are none at all.
        RunError: The run's table is not complete.
    """
    return _all_of(find_photos(run, root), *needed)


@dataclass(frozen=True)
class PhotoSelection:
    """The photos to evaluate: a `split` of the run's `own`, or `external` ones (split `other`)."""

    split: str
    own: Photos
    external: Photos | None = None

    @property
    def name(self) -> str:
        """The name of the results."""
        return self.split if self.external is None else result_name(self.external)

    @property
    def contents(self) -> list[bytes]:
        """The content hash of each photo to evaluate, readable or not."""
        photos = self.external or self.own
        return photos.contents(photos.of(self.split))

    @property
    def training_copies(self) -> int:
        """Number of external photos that are byte-identical to training photos of the run."""
        if self.external is None:
            return 0
        training = {photo.content for photo in self.own.of(TRAIN)}
        return sum(c.hex() in training for c in self.external.contents(self.external.rows))


def select_photos(trained: Trained, data: ExternalDataConfig, split: str) -> PhotoSelection:
    """Select the run's own photos, or external ones.

    Photos are external if `data.root` contains none of the run's, or if the labelling is given.

    Raises:
        ConfigError: The options contradict each other.
        DataError: Photos are missing or changed.
        RunError: The run's files do not fit.
    """
    run, typed = trained.run, [f"data.{key}={value}" for key, value in data.labelling.items()]
    if data.root is None and typed:
        raise ConfigError(
            f"{typed[0]}: has no effect on the run's own photos; it is for photos from elsewhere, "
            "given by data.root=<their folder>"
        )
    if data.root is not None and not Path(data.root).is_dir():
        raise DataError(f"data.root={data.root}: no such folder")
    found = None if typed else find_photos(run, data.root or trained.config.data.root)
    if found is None or (data.root is not None and not found.photos.rows):
        if split != "auto":
            why = f"with {typed[0]} its photos count as others" if typed else "so it has no splits"
            what = "" if typed else "holds none of the run's photos, "
            raise ConfigError(
                f"split={split}: {data.root} {what}{why}; leave split out to look at all of them"
            )
        external = external_photos(data, trained.config.data, trained.model.classes)
        count = f"{len(external.rows):,}"
        if found is not None and found.changed:
            log.warning(
                "%s: has none of the run's photos; %s files have their names, but other contents. "
                "All %s photos count as photos from elsewhere; if they are the run's, saved again, "
                "those that it was trained on inflate the accuracy",
                external.root, f"{len(found.changed):,}", count,
            )  # fmt: skip
        else:
            log.info("%s: %s photos, which count as photos from elsewhere", external.root, count)
        own = find_photos(run, trained.config.data.root).photos
        check_same_classes(trained, own)
        return PhotoSelection(OTHER, own, external)
    split = split_of(run, split)
    own = _all_of(found, split)
    check_same_classes(trained, own)
    if not own.of(split):
        raise RunError(
            f"{run.path / 'photos.csv'}: names no {split} photo, though data.json counts some; "
            f"{CHANGED}"
        )
    return PhotoSelection(split, own)


def _all_of(found: LocatedPhotos, *needed: str) -> Photos:
    lost = found.lost(*(needed or SPLITS))
    if lost and (needed or not found.photos.rows):
        root = found.table.root
        typed = to_argument("data.root", root)
        raise DataError(
            f"{root}: {lost}; put them back, or say where they are now with data.root=<folder>. To "
            "measure what is there now instead, use pets eval or pets interpret with "
            f"{typed} data.label_from=folder (or filename, table)"
        )
    if lost := found.lost(*SPLITS):
        log.warning("%s: %s; they are left out", found.table.root, lost)
    return found.photos


def split_of(run: RunDir, split: str) -> str:
    """Resolve `auto` to test, or to valid if the run has no test photos.

    Raises RunError if the split is empty.
    """
    counts = {name: run.read_json("data.json").get(name) or 0 for name in SPLITS}
    if split == "auto":
        split = TEST if counts[TEST] else VALID
    if not counts[split]:
        has = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        raise RunError(f"split={split}: the run has no such photos; it has {has}")
    return split
