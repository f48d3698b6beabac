"""Metadata of an export: run, metrics, preprocessing, origin and licence of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pets.data.splits import TEST, VALID
from pets.data.transforms import CentreCrop
from pets.export.reference import Reference
from pets.interpretation.interpretation import wilson
from pets.models.catalogue import weights_origin
from pets.run_dir import RunDir
from pets.system.installation import code_version
from pets.training.checkpoints import Trained
from pets.training.looks import looks_at
from pets.training.table import contents_of_test
from pets.unsure.calibration import Promise


@dataclass(frozen=True)
class Metadata:
    """Everything in an export beside the weights.

    Attributes:
        trained: The run.
        ckpt: Which of its checkpoints.
        metrics: By split: photos, accuracy and its 95 % interval (Wilson), and how often test
            photos were looked at; test photos first, if they were measured.
        confused: (actual, predicted, photos) among the photos of `confused_on`.
        pretrained: The pretrained weights of the run, and their licence, as text.
        data: Name, licence, fingerprint and number of the photos.
        licence: Of the exported model, as the hub names it; None: not chosen.
        promise: What says which photos the network is not sure of; None: not exported.
        confused_on: The test photos if a report was made of them, else those that the export is
            checked on.
    """

    trained: Trained
    ckpt: str
    metrics: dict[str, dict[str, Any]]
    confused: list[tuple[str, str, int]]
    pretrained: dict[str, str]
    data: dict[str, Any]
    licence: str | None = None
    promise: Promise | None = None
    confused_on: str = VALID

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
    run, metrics = trained.run, dict[str, dict[str, Any]]()
    report = _read(run, f"interpret/{TEST if ckpt == 'last' else f'{TEST}_{ckpt}'}/summary.json")
    # `status.json` has the metrics of the last weights only; `pets eval` writes those of any
    # checkpoint.
    ended = run.status.get("results", {}).get(TEST) if ckpt == "last" else None
    test = _read(run, f"eval/{TEST}_{ckpt}.json") or ended or report
    if {"photos", "accuracy"} <= test.keys():
        metrics[TEST] = _with_interval(test["photos"], test["accuracy"])
    metrics[reference.split] = _with_interval(len(predictions), predictions.accuracy)
    if TEST in metrics:
        metrics[TEST]["looks"] = looks_at(contents_of_test(run), run).as_dict()
    confused, confused_on = predictions.most_confused(), reference.split
    if "most_confused" in report and reference.split != TEST:
        confused, confused_on = [(a, p, n) for a, p, n in report["most_confused"]], TEST
    counts = run.read_json("data.json")
    data = {
        "name": trained.config.data.name,
        "licence": trained.config.data.licence,
        "folder": Path(trained.config.data.root).name,
        "fingerprint": counts.get("fingerprint"),
        "photos": {split: counts.get(split, 0) for split in ("train", "valid", "test")},
    }
    origin = weights_origin(trained.config.model)
    return Metadata(
        trained, ckpt, metrics, confused, origin, data, licence, confused_on=confused_on
    )


def _read(run: RunDir, name: str) -> dict[str, Any]:
    """A JSON file of the run, or nothing."""
    return run.read_json(name) if (run.path / name).exists() else {}


def _with_interval(photos: int, accuracy: float) -> dict[str, Any]:
    interval = wilson(round(accuracy * photos), photos)
    return {"photos": photos, "accuracy": accuracy, "interval": interval}
