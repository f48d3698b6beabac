"""Measure a classifier on a split; use a trained run again from its directory alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

from pytorch_lightning import Trainer

from pets.checkpoints import read_checkpoint
from pets.config import TrainConfig
from pets.data.module import PetsDataModule
from pets.data.photos import SPLITS, Photos
from pets.data.splits import TEST, VALID
from pets.errors import RunError
from pets.models.classifier import Classifier, classifier_from
from pets.plan.transfer import TransferModule
from pets.run_dir import RunDir

log = logging.getLogger(__name__)


def measure(
    module: TransferModule, data: PetsDataModule, split: str, trainer: Trainer
) -> dict[str, Any]:
    """The metrics of `SplitMetrics.compute` over the photos of a split."""
    data.measured = split
    trainer.test(module, datamodule=data, verbose=False)
    return module.measured


def photos_of_run(run: RunDir, root: str, missing: Literal["refuse", "say"] = "refuse") -> Photos:
    """The run's own photos, where they lie now; said when they are not what they were.

    Raises DataError where one is gone, or with `missing="say"` where all are.
    """
    folder = run.root(root)
    photos = Photos.load(run.path / "photos.csv", folder, missing)
    if missing == "say" and photos.missing:
        log.warning(
            "%s: %s of the run's %s photos are not there",
            folder, f"{len(photos.missing):,}", f"{len(photos.rows):,}",
        )  # fmt: skip
    elif photos.fingerprint != run.read_json("data.json").get("fingerprint"):
        log.warning("%s: the photos are not the same as those the run was trained on", folder)
    return photos


def split_of(photos: Photos, split: str) -> str:
    """The split that `auto` means (test, or valid where there are no test photos), or the given
    one. Raises RunError where the run has no photos in it."""
    if split == "auto":
        split = TEST if photos.of(TEST) else VALID
    if not photos.of(split):
        has = ", ".join(f"{len(photos.of(s)):,} {s}" for s in SPLITS)
        raise RunError(f"split={split}: the run has no such photos; it has {has}")
    return split


@dataclass(frozen=True)
class Trained:
    """A trained run: its network with weights, the config it was trained with, the stage that the
    weights are from, and the temperature that fits their validation photos; None where that was
    not measured."""

    run: RunDir
    config: TrainConfig
    model: Classifier
    stage: str
    temperature: float | None = None


def load_run(run: RunDir, ckpt: str = "last") -> Trained:
    """Exactly the network that was trained, from the run directory alone.

    Raises RunError when a file of the run is missing, damaged or does not fit.
    """
    checkpoint = read_checkpoint(run.checkpoint(ckpt))
    config = run.train_config
    model = classifier_from(checkpoint["pets"])
    prefix = "model."
    weights = {
        name.removeprefix(prefix): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise RunError(
            f"{run.checkpoint(ckpt)}: does not fit its own description ({reason})"
        ) from (error)
    about = checkpoint["pets"]
    return Trained(run, config, model.eval(), about["stage"], about.get("temperature"))
