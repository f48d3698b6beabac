"""Measure a classifier on a split; use a trained run again from its directory alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from pets.checkpoints import read_checkpoint
from pets.config import TrainConfig
from pets.data.photos import Photos
from pets.errors import RunError
from pets.models.classifier import Classifier, classifier_from
from pets.plan.transfer import TransferModule
from pets.run_dir import RunDir

log = logging.getLogger(__name__)


def measure(module: TransferModule, loader: DataLoader[Any], trainer: Trainer) -> dict[str, Any]:
    """The metrics of `SplitMetrics.compute` over a loader's photos."""
    trainer.test(module, loader, verbose=False)
    return module.metrics.compute()


def photos_of_run(run: RunDir, root: str) -> Photos:
    """The run's own photos, where they lie now; said when they are not what they were.

    Raises DataError where one is gone.
    """
    folder = run.root(root)
    photos = Photos.load(run.path / "photos.csv", folder)
    if photos.fingerprint != run.read_json("data.json").get("fingerprint"):
        log.warning("%s: the photos are not the same as those the run was trained on", folder)
    return photos


@dataclass(frozen=True)
class Trained:
    """A trained run: its network with weights, the config it was trained with, and the stage that
    the weights are from."""

    run: RunDir
    config: TrainConfig
    model: Classifier
    stage: str


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
    return Trained(run, config, model.eval(), checkpoint["pets"]["stage"])
