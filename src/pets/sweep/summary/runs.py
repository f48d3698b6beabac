"""The runs of a folder, read from their directories before, while and after they run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pets.errors import PetsError, RunError
from pets.run_dir import RunDir, from_here
from pets.training.metrics_csv import read_metrics

UNREADABLE = "unreadable"
FINISHED, RUNNING, WAITING = "finished", "running", "waiting"
STATES = (FINISHED, RUNNING, WAITING, "interrupted", "failed", UNREADABLE)
# Not among the others: the mean class accuracy hardly differs from the accuracy.
_COLUMNS = ("error_rate", "accuracy", "loss", "photos", "mean_class_accuracy")
_FILES = ("status.json", "config.yaml", "overrides.yaml")


@dataclass(frozen=True)
class Measured:
    """A trained network on one split; errors and accuracies are shares, None where not known."""

    error: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    photos: int | None = None
    others: Mapping[str, float | None] = field(default_factory=dict)  # metrics added later


@dataclass(frozen=True)
class Run:
    """One run as its files say at this moment. Times are ISO texts, seconds wall time."""

    path: Path
    state: str
    error: str = ""  # why it ended, or what of it cannot be read: one line
    given: Mapping[str, str] = field(default_factory=dict)  # by key, as typed
    config: Mapping[str, Any] = field(default_factory=dict)
    position: str = ""
    valid: Measured = Measured()
    test: Measured = Measured()
    so_far: float | None = None  # validation error after the last epoch
    best: float | None = None  # the lowest validation error after an epoch
    best_epoch: str = ""
    seconds: float | None = None
    speeds: Mapping[str, float] = field(default_factory=dict)  # stage, images a second
    started: str = ""
    ended: str = ""
    updated: str = ""
    data: str = ""  # fingerprint of the photos and their splits

    @property
    def number(self) -> int | None:
        """The leading digits of the directory's name: `7` of `07_lr0.001`."""
        match = re.match(r"(\d+)(?:_|$)", self.path.name)
        return int(match[1]) if match else None

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def counts(self) -> bool:
        """Whether its validation error goes into means: finished, and a number."""
        return self.state == FINISHED and self.valid.error is not None

    @property
    def report(self) -> Path | None:
        return self._there("report.html")

    @property
    def log(self) -> Path | None:
        return self._there("train.log")

    def _there(self, name: str) -> Path | None:
        return self.path / name if (self.path / name).is_file() else None


def read_runs(folder: Path) -> list[Run]:
    """The runs one level below the folder, in the order of their numbers.

    A run that cannot be read is one of state `unreadable` whose `error` says why. Raises RunError
    where there is no run.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise RunError(f"{folder}: {what}; expected a sweep's folder, one of outputs/sweeps/...")
    if _is_run(folder):
        above = from_here(str(folder.resolve().parent))
        raise RunError(f"{folder}: is one run, not a sweep; its folder: pets summarize {above}")
    runs = [_read(path) for path in folder.iterdir() if path.is_dir() and _is_run(path)]
    if not runs:
        raise RunError(f"{folder}: {_no_run(folder)}")
    return sorted(runs, key=lambda run: (run.number is None, run.number or 0, run.path.name))


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in _FILES)


def _no_run(folder: Path) -> str:
    """Why there is nothing to summarise, and where there would be."""
    below = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    sweeps = [path for path in below if any(_is_run(run) for run in path.glob("*/"))]
    if sweeps:
        newest = max(sweeps, key=lambda path: path.stat().st_mtime)
        return f"holds no runs, but sweeps; the newest: pets summarize {newest}"
    what = "holds no run directory" if any(folder.iterdir()) else "is empty"
    return f"{what}; expected a sweep's folder, with a directory a run in it"


def _read(path: Path) -> Run:
    run = RunDir(path)
    given: dict[str, str] = {}
    try:
        given = _given(run.overrides)
        return _of_status(run, given, run.read_config(), run.status)
    except (PetsError, OSError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split()).replace(f"{path}/", "")
        return Run(path, UNREADABLE, error=reason, given=given)


def _of_status(
    run: RunDir, given: dict[str, str], config: dict[str, Any], status: dict[str, Any]
) -> Run:
    path = run.path
    error = _last_line(status.get("error"))
    best: tuple[float | None, str] = (None, "")
    so_far = None
    try:
        epochs = read_metrics(path / "metrics.csv")
        numbers = [row for row in epochs if math.isfinite(row["error_rate"])]
        if numbers:
            lowest = min(numbers, key=lambda row: row["error_rate"])
            best = (lowest["error_rate"], f"{lowest['stage']} {lowest['epoch']}")
            so_far = numbers[-1]["error_rate"]
    except RunError as damaged:
        error = error or str(damaged).replace(f"{path}/", "")
    results = status.get("results") or {}
    spent, speeds = status.get("seconds") or {}, status.get("speed") or {}
    data = path / "data.json"
    return Run(
        path,
        state=run.state,
        error=error,
        given=given,
        config=config,
        position=run.position(),
        valid=_measured(results.get("valid")),
        test=_measured(results.get("test")),
        so_far=so_far,
        best=best[0],
        best_epoch=best[1],
        seconds=sum(map(float, spent.values())) if spent else None,
        speeds={stage: float(found["images_per_second"]) for stage, found in speeds.items()},
        started=str(status.get("started") or ""),
        ended=str(status.get("ended") or ""),
        updated=str(status.get("updated") or ""),
        data=str(run.read_json(data.name).get("fingerprint") or "") if data.exists() else "",
    )


def _measured(found: Mapping[str, Any] | None) -> Measured:
    if not found:
        return Measured()
    photos = _number(found.get("photos"))
    return Measured(
        error=_number(found.get("error_rate")),
        accuracy=_number(found.get("accuracy")),
        loss=_number(found.get("loss")),
        photos=None if photos is None else int(photos),
        others={
            name: _number(value)
            for name, value in found.items()
            if name not in _COLUMNS and isinstance(value, int | float)
        },
    )


def _number(value: Any) -> float | None:
    """NaN and infinity are no results."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _last_line(error: Any) -> str:
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _given(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as key and text; of a key that was given twice the last one counts."""
    given = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        given[key.lstrip("+~")] = text if equals else "(removed)"
    given.pop("resume", None)
    return given
