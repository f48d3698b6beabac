"""The runs of a sweep as a table, read from their directories: finished, running or damaged."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pets.config import Monitor
from pets.errors import PetsError, RunError
from pets.io.serialize import to_json
from pets.run_dir import RunDir, from_here
from pets.training.metrics_csv import read_metrics

# The columns that always exist. Further metrics and the speed of each stage are added.
_NUMBERS = (
    "valid_error", "valid_accuracy", "valid_loss", "valid_photos", "best_epoch_error",
    "last_epoch_error", "test_error", "test_accuracy", "test_loss", "test_photos", "seconds",
)  # fmt: skip
_TEXTS = (
    "state", "best_epoch", "started", "ended", "updated", "position", "error", "report", "seed",
    "data",
)  # fmt: skip


def read_runs(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, list[Monitor]]:
    """Read the runs directly below a folder, ordered by number.

    Returns:
        Two tables with one row per run. First the state and results: errors as fractions (NaN if
        unknown), times in ISO format and in seconds; a damaged run is `unreadable`, with the reason
        as its `error`. Second the value, as text, of each key overridden in any run; empty if
        unknown. Third the different metrics that runs with results monitor.

    Raises:
        RunError: There is no run.
    """
    if _is_run(folder):
        parent = shlex.quote(str(from_here(str(folder.resolve().parent))))
        raise RunError(f"{folder}: is one run, not a sweep; its folder: pets summarize {parent}")
    paths = [path for path in folder.iterdir() if _is_run(path)] if folder.is_dir() else []
    if not paths:
        what = "holds no runs" if folder.is_dir() else "no such folder"
        raise RunError(f"{folder}: {what}; expected a sweep's folder, one of outputs/sweeps/...")
    rows, configs, overrides, monitors = [], [], [], dict[Monitor, None]()
    for path in sorted(paths, key=lambda path: (_number(path) is None, _number(path), path.name)):
        config: Mapping[str, Any] = {}
        given: dict[str, str] = {}
        try:
            run = RunDir(path)
            status, config, given = _status(run), run.read_config(), _by_key(run.overrides)
            status["seed"] = str(config.get("seed"))
            if "best_epoch" in status or "valid_photos" in status:
                monitors[run.monitor] = None
        except (PetsError, OSError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split()).replace(f"{path}/", "")
            status = {"state": "unreadable", "error": reason}
        rows.append({"number": _number(path), "run": path.name, **status})
        configs.append(config)
        overrides.append(given)
    keys = dict.fromkeys(key for given in overrides for key in given)
    values = [
        {key: _value(config, given, key) for key in keys}
        for config, given in zip(configs, overrides, strict=True)
    ]
    runs = pd.DataFrame(rows)
    fixed = ["number", "run", *_NUMBERS, *_TEXTS]
    runs = runs.reindex(columns=[*fixed, *(name for name in runs if name not in fixed)])
    kinds = dict.fromkeys(_NUMBERS, "float") | dict.fromkeys(_TEXTS, "object")
    runs = runs.astype(kinds | {"number": "Int64"})
    values_of = pd.DataFrame(values, index=runs.index)
    return runs.fillna(dict.fromkeys(_TEXTS, "")), values_of, [*monitors]


def _is_run(path: Path) -> bool:
    return (path / "status.json").is_file() or (path / "config.yaml").is_file()


def _number(path: Path) -> int | None:
    """The leading digits of a run's name: `7` of `07_lr0.001`."""
    match = re.match(r"(\d+)(?:_|$)", path.name)
    return int(match[1]) if match else None


def _status(run: RunDir) -> dict[str, Any]:
    """Return a row of the table with the results so far. NaN and infinity count as unknown."""
    status = run.status
    error = str(status.get("error") or "").strip().splitlines()  # the last line of a traceback
    row: dict[str, Any] = {"state": run.state}
    for split, results in (status.get("results") or {}).items():
        for name, value in results.items():
            if isinstance(value, int | float) and math.isfinite(value):
                row[f"{split}_{'error' if name == 'error_rate' else name}"] = value
    for stage, speed in (status.get("speed") or {}).items():
        row[f"images_per_second/{stage}"] = float(speed["images_per_second"])
    if seconds := status.get("seconds"):
        row["seconds"] = round(sum(map(float, seconds.values())), 3)
    row |= {name: str(status.get(name) or "") for name in ("started", "ended", "updated")}
    row |= {"position": run.position(), "error": error[-1].strip() if error else ""}
    row["report"] = f"{run.path.name}/report.html" if (run.path / "report.html").is_file() else ""
    if (run.path / "data.json").exists():  # which photos, and how they are split
        row["data"] = str(run.read_json("data.json").get("fingerprint") or "")
    try:
        epochs = pd.DataFrame(read_metrics(run.path / "metrics.csv"))
    except RunError as damaged:
        return row | {"error": row["error"] or str(damaged).replace(f"{run.path}/", "")}
    monitor = run.monitor
    scores = epochs.get(monitor.column, pd.Series(dtype=float))
    if scores.notna().any():
        best = int(scores.argmax() if monitor.maximize else scores.argmin())
        row |= {
            "best_epoch": f"{epochs.stage[best]} {epochs.epoch[best]}",
            f"best_epoch_{monitor.short}": scores[best],
            f"last_epoch_{monitor.short}": scores.iloc[-1],
        }
    return row


def _by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides as key and value; if a key is given twice, the last one counts."""
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: text if equals else "(removed)" for key, equals, text in pairs if key != "resume"}


def _value(config: Mapping[str, Any], given: Mapping[str, str], key: str) -> str:
    """Return the value of a dotted key in normalised form: `0.001`, also for `1e-3`.

    It comes from the config, unless `auto` was given, which may be another number in every run. For
    a config group it is the option's name in the overrides.
    """
    value: Any = config
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None or isinstance(value, Mapping) or given.get(key) == "auto":
        return given.get(key, "")
    return value if isinstance(value, str) else to_json(value)
