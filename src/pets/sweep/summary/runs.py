"""The runs of a sweep, read from their directories: waiting, running, finished or damaged."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pets.errors import PetsError, RunError
from pets.io.serialize import to_yaml
from pets.run_dir import RunDir, from_here
from pets.training.metrics_csv import read_metrics

FINISHED, RUNNING, WAITING, UNREADABLE = "finished", "running", "waiting", "unreadable"
STATES = (FINISHED, RUNNING, WAITING, "interrupted", "failed", UNREADABLE)
# What is not among the other metrics: the mean class accuracy hardly differs from the accuracy.
_KNOWN = ("error_rate", "accuracy", "loss", "photos", "mean_class_accuracy")
_RUN_FILES = ("status.json", "config.yaml", "overrides.yaml")


@dataclass(frozen=True)
class Result:
    """Metrics on one split; errors and accuracies are shares of 1, None where unknown."""

    error: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    photos: int | None = None
    others: Mapping[str, float | None] = field(default_factory=dict)  # metrics added later

    @classmethod
    def read(cls, metrics: Mapping[str, Any] | None) -> Result:
        """The result from an entry of `results` in a status; NaN and infinity count as unknown."""
        metrics = metrics or {}
        error, accuracy, loss, photos = (_finite(metrics.get(name)) for name in _KNOWN[:4])
        others = {
            name: _finite(value)
            for name, value in metrics.items()
            if name not in _KNOWN and isinstance(value, int | float)
        }
        return cls(error, accuracy, loss, None if photos is None else int(photos), others)


@dataclass(frozen=True)
class Run:
    """One run as its files describe it now. Times are ISO texts, durations seconds."""

    path: Path
    state: str
    error: str = ""  # why it ended, or which file is damaged: one line
    overrides: Mapping[str, str] = field(default_factory=dict)  # by key, as typed
    config: Mapping[str, Any] = field(default_factory=dict)
    position: str = ""
    valid: Result = Result()
    test: Result = Result()
    last_epoch_error: float | None = None  # validation error
    best_epoch_error: float | None = None
    best_epoch: str = ""
    seconds: float | None = None
    speeds: Mapping[str, float] = field(default_factory=dict)  # images per second, by stage
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
        """Whether its validation error goes into means: it is finished, and has one."""
        return self.state == FINISHED and self.valid.error is not None

    @property
    def report(self) -> Path | None:
        return self._existing("report.html")

    @property
    def log(self) -> Path | None:
        return self._existing("train.log")

    def value(self, key: str) -> str:
        """The value of a dotted key: as typed, else from the config, else empty."""
        if key in self.overrides:
            return self.overrides[key]
        value: Any = self.config
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None or isinstance(value, Mapping):
            return ""
        if isinstance(value, str):
            return value
        text = to_yaml(value, sort_keys=True, default_flow_style=True, width=math.inf)
        return text.removesuffix("...\n").strip()

    def _existing(self, name: str) -> Path | None:
        return self.path / name if (self.path / name).is_file() else None


def read_runs(folder: Path) -> list[Run]:
    """The runs directly below a folder, by their numbers.

    A damaged run has the state `unreadable` and the reason as its `error`.

    Raises:
        RunError: there is no run.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise RunError(f"{folder}: {what}; expected a sweep's folder, one of outputs/sweeps/...")
    if _is_run(folder):
        parent = from_here(str(folder.resolve().parent))
        raise RunError(f"{folder}: is one run, not a sweep; its folder: pets summarize {parent}")
    runs = [_read(path) for path in folder.iterdir() if path.is_dir() and _is_run(path)]
    if not runs:
        raise RunError(f"{folder}: {_why_no_runs(folder)}")
    return sorted(runs, key=lambda run: (run.number is None, run.number or 0, run.path.name))


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in _RUN_FILES)


def _why_no_runs(folder: Path) -> str:
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    sweeps = [path for path in folders if any(_is_run(run) for run in path.glob("*/"))]
    if sweeps:
        newest = max(sweeps, key=lambda path: path.stat().st_mtime)
        return f"holds no runs, but sweeps; the newest: pets summarize {newest}"
    what = "holds no run directory" if any(folder.iterdir()) else "is empty"
    return f"{what}; expected a sweep's folder, with a directory a run in it"


def _read(path: Path) -> Run:
    run = RunDir(path)
    overrides: dict[str, str] = {}
    try:
        overrides = _by_key(run.overrides)
        return Run(path, overrides=overrides, config=run.read_config(), **_read_status(run))
    except (PetsError, OSError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split()).replace(f"{path}/", "")
        return Run(path, UNREADABLE, error=reason, overrides=overrides)


def _read_status(run: RunDir) -> dict[str, Any]:
    status = run.status
    error_lines = str(status.get("error") or "").strip().splitlines()
    fields: dict[str, Any] = {
        "state": run.state,
        "error": error_lines[-1].strip() if error_lines else "",
        "position": run.position(),
        **{name: str(status.get(name) or "") for name in ("started", "ended", "updated")},
    }
    for split in ("valid", "test"):
        fields[split] = Result.read((status.get("results") or {}).get(split))
    if seconds := status.get("seconds"):
        fields["seconds"] = sum(map(float, seconds.values()))
    speeds = status.get("speed") or {}
    fields["speeds"] = {stage: float(s["images_per_second"]) for stage, s in speeds.items()}
    if (run.path / "data.json").exists():
        fields["data"] = str(run.read_json("data.json").get("fingerprint") or "")
    try:
        epochs = read_metrics(run.path / "metrics.csv")
    except RunError as damaged:
        fields["error"] = fields["error"] or str(damaged).replace(f"{run.path}/", "")
        return fields
    if epochs := [epoch for epoch in epochs if math.isfinite(epoch["error_rate"])]:
        best = min(epochs, key=lambda epoch: epoch["error_rate"])
        fields["last_epoch_error"] = epochs[-1]["error_rate"]
        fields["best_epoch_error"] = best["error_rate"]
        fields["best_epoch"] = f"{best['stage']} {best['epoch']}"
    return fields


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as key and value; of a key given twice the last one counts."""
    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        values[key.lstrip("+~")] = text if equals else "(removed)"
    values.pop("resume", None)
    return values
