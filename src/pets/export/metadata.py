"""Metadata of an export: run, metrics, preprocessing, origin and licence of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import timm

from pets.config import ModelConfig
from pets.data.splits import TEST
from pets.data.transforms import CentreCrop
from pets.export.reference import Reference
from pets.interpretation.interpretation import wilson
from pets.run_dir import RunDir
from pets.system.installation import code_version
from pets.training.evaluation import Trained


class Origin(NamedTuple):
    """Where the weights come from that a training began with, and their licence, in words."""

    weights: str
    licence: str


@dataclass(frozen=True)
class Measured:
    """An accuracy over photos of a split, and its 95 % interval (Wilson)."""

    split: str
    photos: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Metadata:
    """All that an export says beside the weights.

    `confused` are (actual, predicted, photos) among the photos that it is checked on.
    """

    trained: Trained
    ckpt: str
    measured: list[Measured]
    confused: list[tuple[str, str, int]]
    origin: Origin
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
            "metrics": {
                m.split: {"photos": m.photos, "accuracy": m.accuracy, "interval": m.interval}
                for m in self.measured
            },
            "pretrained": self.origin._asdict(),
            "data": self.data,
        }


def metadata_of(reference: Reference, ckpt: str) -> Metadata:
    """What is known of the run, and what the reference photos say of it."""
    trained, found = reference.trained, reference.predictions
    measured = [
        Measured(reference.split, len(found), found.accuracy, found.accuracy_interval),
    ]
    if reference.split != TEST and (test := _of_test(trained.run, ckpt)):
        measured.append(test)
    counts = trained.run.read_json("data.json")
    data = {
        "name": trained.config.data.name,
        "licence": trained.config.data.licence,
        "folder": Path(trained.config.data.root).name,
        "fingerprint": counts.get("fingerprint"),
        "photos": {split: counts.get(split, 0) for split in ("train", "valid", "test")},
    }
    origin = origin_of(trained.config.model)
    return Metadata(trained, ckpt, measured, found.most_confused(), origin, data)


def _of_test(run: RunDir, ckpt: str) -> Measured | None:
    """What training measured of its last weights, or `pets eval` of these; None where neither
    did."""
    file = f"eval/{TEST}_{ckpt}.json"
    values: dict[str, Any] | None = None
    if (run.path / file).exists():
        values = run.read_json(file)
    elif ckpt == "last":
        values = run.status.get("results", {}).get(TEST)
    if not values:
        return None
    photos, accuracy = values["photos"], values["accuracy"]
    return Measured(TEST, photos, accuracy, wilson(round(accuracy * photos), photos))


def origin_of(model: ModelConfig) -> Origin:
    """What can be known without the net. A licence that is not known is said to be unknown."""
    if model.weights == "none":
        return Origin("none: random numbers", "none is needed")
    if model.weights == "package":
        package = str(model.package).replace("_", "-")
        return Origin(f"ImageNet, the package {package}", _of_package(package))
    if model.weights != "default":
        return Origin("a file of the trainer's own", "unknown")
    if model.library == "timm":
        config = timm.get_pretrained_cfg(model.name)
        tag = (config and config.tag) or "default"
        return Origin(
            f"timm {timm.__version__}, {model.name.partition('.')[0]}.{tag}",
            (config and config.license) or "unknown",
        )
    return Origin(
        f"torchvision, {model.name}, trained on ImageNet",
        "unknown: torchvision's code is BSD-3-Clause, of the weights it says that they may have "
        "terms of their own, as the data set that they were trained on has",
    )


def _of_package(package: str) -> str:
    try:
        about = distribution(package)
    except PackageNotFoundError:
        return f"unknown: {package} is not installed here"
    text = " ".join((about.read_text("LICENSE") or "").replace(",", "").split())
    if "Apache License Version 2.0" in text:
        return "Apache-2.0, says the package's LICENSE file"
    return "unknown"
