"""What the tests read from a run directory."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pets.training.checkpoints import read_checkpoint

TIMES = ("seconds",)


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(stream)]


def metrics_or_none(run: Path) -> list[dict[str, str]]:
    return metrics(run) if (run / "metrics.csv").exists() else []


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"]


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def scalars(run: Path, tag: str) -> list[Any]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    return events.Reload().Scalars(tag)


def tags(run: Path) -> list[str]:
    return sorted(EventAccumulator(str(run / "tensorboard")).Reload().Tags()["scalars"])
