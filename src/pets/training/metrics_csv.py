"""`metrics.csv` of a run: one row per epoch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pets.errors import RunError
from pets.io.atomic import regular
from pets.io.csv_cells import read_cell, write_cell

# Columns of every row; between `step` and `seconds` are the metrics that were registered when the
# row was written.
FIXED = ("stage", "epoch", "step", "seconds")
# The losses are plotted, and the error rate selects the best checkpoint.
_REQUIRED = (*FIXED, "train_loss", "valid_loss", "error_rate")


def write_metrics(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write all rows atomically; metrics missing from a row are empty cells."""
    names = dict.fromkeys(name for row in reversed(rows) for name in row if name not in FIXED)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*FIXED[:3], *names, FIXED[3]], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(cell) for name, cell in row.items()} for row in rows)
    part = file.with_name(f".{file.name}.part")
    part.write_text(text.getvalue(), encoding="utf-8")
    part.replace(file)


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a `metrics.csv`, numbers as numbers, empty cells as NaN.

    No rows if the file does not exist yet. Its metrics may differ from the registered ones.

    Raises:
        RunError: The file is damaged, or is not a `metrics.csv`.
    """
    if not file.exists():
        return []
    try:
        with regular(file).open(newline="", encoding="utf-8") as stream:
            rows = [{k: _read(k, v) for k, v in row.items()} for row in csv.DictReader(stream)]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{file}: damaged, cannot be read ({reason})") from error
    missing = [name for name in _REQUIRED if rows and name not in rows[0]]
    if missing:
        raise RunError(f"{file}: is not the metrics.csv of a run, it has no column {missing[0]}")
    return rows


def _written(cell: Any) -> Any:
    return "" if isinstance(cell, float) and math.isnan(cell) else write_cell(cell)


def _read(name: str, cell: str) -> Any:
    if name == "stage":
        return read_cell(cell)
    if name in ("epoch", "step"):
        return int(cell)
    return math.nan if cell == "" and name not in FIXED else float(cell)
