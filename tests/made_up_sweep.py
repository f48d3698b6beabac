"""Sweeps that nobody trained: run directories with the files that a summary reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_HEADER = "stage,epoch,step,train_loss,valid_loss,error_rate,accuracy,mean_class_accuracy,seconds"


def made_up_run(
    path: Path,
    given: Mapping[str, Any],
    valid: float | None = 0.1,
    *,
    state: str = "finished",
    test: float | None = None,
    photos: int = 200,
    epochs: Sequence[float] = (),
    data: str = "same photos",
    **status: Any,
) -> Path:
    """A run directory; a finished one has its results, `epochs` are errors for metrics.csv."""
    path.mkdir(parents=True)
    config: dict[str, Any] = {"seed": 42}
    for key, value in given.items():
        section = config
        *sections, last = key.split(".")
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = as_number(value)
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    args = [f"{key}={value}" for key, value in given.items()]
    (path / "overrides.yaml").write_text(yaml.safe_dump(args))
    (path / "data.json").write_text(json.dumps({"fingerprint": data}))
    result: dict[str, Any] = {"state": state, **status}
    if state == "finished":
        result["results"] = {"valid": measured(valid, photos)} if valid is not None else {}
        if test is not None:
            result["results"]["test"] = measured(test, photos)
    (path / "status.json").write_text(json.dumps(result))
    rows = [
        ",".join(["head", f"{n}", f"{10 * n}", "1.0", "1.0", f"{e}", f"{1 - e}", "0.5", "2.0"])
        for n, e in enumerate(epochs, start=1)
    ]
    if rows:
        (path / "metrics.csv").write_text("\n".join([_HEADER, *rows]) + "\n")
    return path


def as_number(value: Any) -> Any:
    """A typed number as a config has it: 0.0001 for `1e-4`."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def measured(error: float, photos: int) -> dict[str, float]:
    """A split's results as a run writes them."""
    return {"error_rate": error, "accuracy": 1 - error, "loss": 3 * error, "photos": photos}


def made_up_sweep(
    folder: Path, errors: Mapping[tuple[Any, ...], float], keys: Sequence[str], **more: Any
) -> Path:
    """A finished run for every tuple of values of the keys, numbered in this order."""
    for number, (values, error) in enumerate(errors.items()):
        given = dict(zip(keys, values, strict=True))
        test = {"test": error + 0.02} | more
        made_up_run(folder / f"{number:02}_run", given, error, **test)
    return folder
