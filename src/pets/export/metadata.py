"""Metadata of an export: run, metrics, preprocessing, origin and licence of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pets.data.splits import TEST
from pets.data.transforms import CentreCrop
from pets.export.reference import Reference
from pets.interpretation.interpretation import wilson
from pets.models.catalogue import Origin, origin_of
from pets.run_dir import RunDir
from pets.system.environment import code_version
from pets.training.evaluation import Trained


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
