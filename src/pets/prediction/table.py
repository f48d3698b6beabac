"""The table of predictions: its columns, rows and file formats.

A new format is one function that writes tables to a file, added to `FORMATS` under its suffix.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pets.io.csv_cells import write_cell
from pets.io.serialize import to_json
from pets.unsure.rule import Unsure

FIXED = ("file", "prediction", "probability", "error")
UNSURE = pa.schema(
    [
        ("set", pa.list_(pa.string())),
        ("size", pa.int64()),
        ("superclass", pa.string()),
        ("none_of_these", pa.float64()),
        ("unsure", pa.bool_()),
    ]
)
_ROWS = 1024  # converted to Python values at a time


def schema_of(classes: Sequence[str], top_k: int | None, unsure: bool = False) -> pa.Schema:
    """Return the columns: file, prediction, its probability, one probability per class, error.

    With `unsure`, the columns of `UNSURE` come before the classes. With `top_k` the runners-up
    replace the classes: prediction_2, probability_2, ... A class with the name of another column
    gets the column `class:<name>`. `error` is why a file could not be read.
    """
    if top_k is None:
        columns = [(name, pa.float64()) for name in class_columns(classes, unsure)]
    else:
        columns = [
            (f"{name}_{rank}", kind)
            for rank in range(2, top_k + 1)
            for name, kind in (("prediction", pa.string()), ("probability", pa.float64()))
        ]
    first = [("file", pa.string()), ("prediction", pa.string()), ("probability", pa.float64())]
    judged = list(UNSURE) if unsure else []
    return pa.schema([*first, *judged, *columns, ("error", pa.string())])


def class_columns(classes: Sequence[str], unsure: bool = False) -> list[str]:
    """Return the column name of each class, distinct from the other columns."""
    fixed = (*FIXED, *UNSURE.names) if unsure else FIXED
    return [f"class:{name}" if name in fixed else name for name in classes]


def build_table(
    files: Sequence[str],
    probabilities: np.ndarray,
    errors: Sequence[str],
    classes: Sequence[str],
    top_k: int | None,
    rule: Unsure | None = None,
    distances: np.ndarray | None = None,
) -> pa.Table:
    """Build the rows of some photos.

    Args:
        files: Their addresses.
        probabilities: (photos, classes); ignored for photos with an error.
        errors: Why each photo could not be read, "" if it could.
        classes: Class names, in the order of the columns of `probabilities`.
        top_k: Number of classes in a row; None for one column per class.
        rule: Says what the network is not sure of, if that is wanted.
        distances: (photos,), for the rule.
    """
    failed = np.array([bool(error) for error in errors], dtype=bool)
    # Ties go to the first class, as in argmax.
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : top_k or 1]
    names = np.array(classes, dtype=object)[order]
    best = np.take_along_axis(probabilities, order, axis=1)

    def numbers(values: np.ndarray) -> pa.Array:
        return pa.array(values, pa.float64(), mask=failed)

    columns = [pa.array([_as_text(file) for file in files], pa.string())]
    for rank in range(order.shape[1]):
        columns += [pa.array(names[:, rank], pa.string(), mask=failed), numbers(best[:, rank])]
        if rank == 0 and rule is not None and distances is not None:
            columns += _judged(rule, probabilities, distances, failed)
    if top_k is None:
        columns += [numbers(column) for column in probabilities.T]
    columns.append(pa.array([_as_text(error) or None for error in errors], pa.string()))
    return pa.Table.from_arrays(columns, schema=schema_of(classes, top_k, rule is not None))


def _judged(
    rule: Unsure, probabilities: np.ndarray, distances: np.ndarray, failed: np.ndarray
) -> list[pa.Array]:
    """The columns of `UNSURE`, null for photos that failed."""
    found = iter(rule(probabilities[~failed], distances[~failed]))
    rows = [None if bad else next(found) for bad in failed]
    values = [row and {**row, "size": len(row["set"])} for row in rows]
    return [pa.array([row and row[field.name] for row in values], field.type) for field in UNSURE]


def _as_text(name: str) -> str:
    """Return a file name as text, with undecodable bytes as `\\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _write_csv(file: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write a header and one line per photo; a list's items are separated by |, and cells are
    escaped against spreadsheet formulas."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(map(write_cell, schema.names))
        for rows in (batch for table in tables for batch in table.to_batches(_ROWS)):
            columns = (map(_cell, column.to_pylist()) for column in rows.columns)
            writer.writerows(zip(*columns, strict=True))


def _cell(value: Any) -> Any:
    return write_cell("|".join(value) if isinstance(value, list) else value)


def _write_parquet(file: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write typed, compressed columns."""
    with pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))


def _write_json(file: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write a list with one object per photo."""
    with file.open("w", encoding="utf-8") as stream:
        separator = "[\n"
        for rows in (batch for table in tables for batch in table.to_batches(_ROWS)):
            for row in rows.to_pylist():
                stream.write(separator + to_json(row))
                separator = ",\n"
        stream.write("\n]\n")


FORMATS: dict[str, Callable[[Path, pa.Schema, Iterable[pa.Table]], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".json": _write_json,
}
