"""`metrics.csv` of a run: a row an epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pets.errors import RunError
from pets.io.csv_cells import read_cell, write_cell

COLUMNS = (
    "stage", "epoch", "step", "train_loss", "valid_loss",
    "error_rate", "accuracy", "mean_class_accuracy", "seconds",
)  # fmt: skip


def write_metrics(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All rows, in one step."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: write_cell(cell) for name, cell in row.items()} for row in rows)
    part = file.with_name(f".{file.name}.part")
    part.write_text(text.getvalue(), encoding="utf-8")
    part.replace(file)


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.csv`, numbers as numbers; none where there is no file yet.

    Raises RunError for any other file.
    """
    if not file.exists():
        return []
    try:
        rows = _numbers(file)
    except (ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{file}: damaged, cannot be read ({error})") from error
    missing = [name for name in COLUMNS if rows and name not in rows[0]]
    if missing:
        raise RunError(f"{file}: is no metrics.csv of a run, it has no column {missing[0]}")
    return rows


def _numbers(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return [
            {k: read_cell(v) if k == "stage" else int(v) if k in ("epoch", "step") else float(v)
             for k, v in row.items()}
            for row in csv.DictReader(stream)
        ]  # fmt: skip
