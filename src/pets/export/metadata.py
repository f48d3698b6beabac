"""Metadata of an export: run, metrics, preprocessing, origin and licence of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pets.data.splits import TEST
from pets.data.transforms import CentreCrop
from pets.export.reference import Reference
from pets.interpretation.interpretation import wilson
from pets.models.catalogue import weights_origin
from pets.system.installation import code_version
from pets.training.checkpoints import Trained
from pets.training.looks import contents_of_test, looks_at
from pets.unsure.calibration import Promise


@dataclass(frozen=True)
class Metadata:
    """Everything in an export beside the weights.

    Attributes:
        trained: The run.
        ckpt: Which of its checkpoints.
        metrics: By split: photos, accuracy and its 95 % interval (Wilson), and how often test
            photos were looked at; first the split that the export is checked on.
        confused: (actual, predicted, photos) among the photos that it is checked on.
        pretrained: The pretrained weights of the run, and their licence, as text.
        data: Name, licence, fingerprint and number of the photos.
        licence: Of the exported model, as the hub names it; None: not chosen.
        promise: What says which photos the network is not sure of; None: not exported.
    """

    trained: Trained
    ckpt: str
    metrics: dict[str, dict[str, Any]]
    confused: list[tuple[str, str, int]]
    pretrained: dict[str, str]
    data: dict[str, Any]
    licence: str | None = None
    promise: Promise | None = None

    @property
    def temperature(self) -> float:
        """The fitted temperature, or 1 if none was fitted."""
        return self.trained.temperature or 1.0

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How an RGB photo becomes the network's input; `covers`, `size` are (height, width)."""
        model = self.trained.model
        return {
            "size": list(model.size),
            "covers": CentreCrop(model.size, model.preprocess).resized,
            **model.preprocess.as_dict(),
            "antialias": True,
        }

    def as_dict(self) -> dict[str, Any]:
        """The metadata in the files of every format."""
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


def collect_metadata(reference: Reference, ckpt: str, licence: str | None = None) -> Metadata:
    """Collect the metadata of a run, with metrics measured on the reference photos."""
    trained, predictions = reference.trained, reference.predictions
    metrics = {reference.split: _with_interval(len(predictions), predictions.accuracy)}
    # `status.json` has the metrics of the last weights only; `pets eval` writes those of any
    # checkpoint.
    test = trained.run.status.get("results", {}).get(TEST) if ckpt == "last" else None
    if (trained.run.path / f"eval/{TEST}_{ckpt}.json").exists():
        test = trained.run.read_json(f"eval/{TEST}_{ckpt}.json")
    if test and {"photos", "accuracy"} <= test.keys():
        metrics.setdefault(TEST, _with_interval(test["photos"], test["accuracy"]))
    if TEST in metrics:
        metrics[TEST]["looks"] = looks_at(contents_of_test(trained.run), trained.run).as_dict()
    counts = trained.run.read_json("data.json")
    data = {
        "name": trained.config.data.name,
        "licence": trained.config.data.licence,
        "folder": Path(trained.config.data.root).name,
        "fingerprint": counts.get("fingerprint"),
        "photos": {split: counts.get(split, 0) for split in ("train", "valid", "test")},
    }
    origin = weights_origin(trained.config.model)
    return Metadata(trained, ckpt, metrics, predictions.most_confused(), origin, data, licence)


def _with_interval(photos: int, accuracy: float) -> dict[str, Any]:
    interval = wilson(round(accuracy * photos), photos)
    return {"photos": photos, "accuracy": accuracy, "interval": interval}
