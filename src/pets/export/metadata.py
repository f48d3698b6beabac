"""Metadata of an export: run, metrics, preprocessing, origin and licence of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import timm

from pets.config import ModelConfig
from pets.data.splits import TEST
from pets.data.transforms import CentreCrop
from pets.export.reference import Reference
from pets.interpretation.interpretation import wilson
from pets.system.installation import code_version
from pets.training.evaluation import Trained


@dataclass(frozen=True)
class Metadata:
    """All that an export says beside the weights.

    Attributes:
        trained: the run.
        ckpt: which of its checkpoints.
        metrics: by split: photos, accuracy and its 95 % interval (Wilson); first the split that the
            export is checked on.
        confused: (actual, predicted, photos) among the photos that it is checked on.
        pretrained: the weights that the training began with, and their licence, in words.
        data: name, licence and fingerprint of the photos, and how many there are.
    """

    trained: Trained
    ckpt: str
    metrics: dict[str, dict[str, Any]]
    confused: list[tuple[str, str, int]]
    pretrained: dict[str, str]
    data: dict[str, Any]

    @property
    def temperature(self) -> float:
        """1 where none was measured."""
        return self.trained.temperature or 1.0

    @property
    def preprocessing(self) -> dict[str, Any]:
        """From an RGB photo to the network's input. `covers` and `size` are (height, width)."""
        model = self.trained.model
        return {
            "size": list(model.size),
            "covers": CentreCrop(model.size, model.preprocess).resized,
            **model.preprocess.as_dict(),
            "antialias": True,
        }

    def as_dict(self) -> dict[str, Any]:
        """What goes into the files of every format."""
        return {
            "run": self.trained.run.path.resolve().name,
            "checkpoint": self.ckpt,
            "stage": self.trained.stage,
            "trained_by": self.trained.run.read_json("environment.json").get("pets"),
            "exported_by": code_version(),
            "temperature": self.temperature,
            "metrics": self.metrics,
            "pretrained": self.pretrained,
            "data": self.data,
        }


def metadata_of(reference: Reference, ckpt: str) -> Metadata:
    """What is known of the run, and what the reference photos say of it."""
    trained, found = reference.trained, reference.predictions
    metrics = {reference.split: _measured(len(found), found.accuracy)}
    # Training has measured its last weights, and `pets eval` those that it was asked for.
    test = trained.run.status.get("results", {}).get(TEST) if ckpt == "last" else None
    if (trained.run.path / f"eval/{TEST}_{ckpt}.json").exists():
        test = trained.run.read_json(f"eval/{TEST}_{ckpt}.json")
    if test:
        metrics.setdefault(TEST, _measured(test["photos"], test["accuracy"]))
    counts = trained.run.read_json("data.json")
    data = {
        "name": trained.config.data.name,
        "licence": trained.config.data.licence,
        "folder": Path(trained.config.data.root).name,
        "fingerprint": counts.get("fingerprint"),
        "photos": {split: counts.get(split, 0) for split in ("train", "valid", "test")},
    }
    origin = origin_of(trained.config.model)
    return Metadata(trained, ckpt, metrics, found.most_confused(), origin, data)


def _measured(photos: int, accuracy: float) -> dict[str, Any]:
    interval = wilson(round(accuracy * photos), photos)
    return {"photos": photos, "accuracy": accuracy, "interval": interval}


def origin_of(model: ModelConfig) -> dict[str, str]:
    """What can be known without the net. A licence that is not known is said to be unknown."""
    if model.weights == "none":
        weights, licence = "none: random numbers", "none is needed"
    elif model.weights == "package":
        package = str(model.package).replace("_", "-")
        weights, licence = f"ImageNet, the package {package}", _of_package(package)
    elif model.weights != "default":
        weights, licence = "a file of the trainer's own", "unknown"
    elif model.library == "timm":
        config = timm.get_pretrained_cfg(model.name)
        tag = (config and config.tag) or "default"
        weights = f"timm {timm.__version__}, {model.name.partition('.')[0]}.{tag}"
        licence = (config and config.license) or "unknown"
    else:
        weights = f"torchvision, {model.name}, trained on ImageNet"
        licence = (
            "unknown: torchvision's code is BSD-3-Clause, of the weights it says that they may "
            "have terms of their own, as the data set that they were trained on has"
        )
    return {"weights": weights, "licence": licence}


def _of_package(package: str) -> str:
    try:
        licence = distribution(package).read_text("LICENSE") or ""
    except PackageNotFoundError:
        return f"unknown: {package} is not installed here"
    if "Apache License Version 2.0" in " ".join(licence.replace(",", "").split()):
        return "Apache-2.0, says the package's LICENSE file"
    return "unknown"
