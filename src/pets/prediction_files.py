"""Predictions on disk: CSV, Parquet or JSON, written as they come, in place only when whole."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pets.errors import ConfigError
from pets.prediction import Prediction

Write = Callable[[list[Prediction]], None]
FIXED = ("file", "prediction", "probability", "error")


@contextmanager
def prediction_file(out: Path, classes: list[str]) -> Iterator[Write]:
    """A function that appends predictions to `out`, whose suffix chooses the format.

    Columns: file, prediction, probability (of the prediction), one for each class, and error (why
    a file could not be read). A class named like one of the others gets the column `class:<name>`.
    Nothing is put in place when no file could be read. Raises ConfigError for another suffix, or
    where nothing can be written.
    """
    writers = {".csv": _csv, ".parquet": _parquet, ".json": _json}
    suffix = out.suffix.lower()
    if suffix not in writers:
        raise ConfigError(f"out={out}: unknown format; expected {', '.join(writers)}")
    part = out.with_name(f".{out.name}.part")
    named = 0

    def counted(rows: list[Prediction]) -> None:
        nonlocal named
        named += sum(row.probabilities is not None for row in rows)
        write(rows)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with writers[suffix](part, columns_of(classes)) as write:
            yield counted
        if named:
            part.replace(out)
    except OSError as error:
        raise ConfigError(f"out={out}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def columns_of(classes: list[str]) -> list[str]:
    """The classes' column names, none of them one of the fixed columns."""
    return [f"class:{name}" if name in FIXED else name for name in classes]


def best(prediction: Prediction, classes: list[str]) -> tuple[str, float] | None:
    """The most probable class and its probability; None for a file that could not be read."""
    if prediction.probabilities is None:
        return None
    probability = max(prediction.probabilities)
    return classes[prediction.probabilities.index(probability)], probability


def _row(prediction: Prediction, columns: list[str]) -> dict[str, Any]:
    name, probability = best(prediction, columns) or (None, None)
    values: list[Any] = prediction.probabilities or [None] * len(columns)
    return {
        "file": str(prediction.file),
        "prediction": name and _class_of(name),
        "probability": probability,
        **dict(zip(columns, values, strict=True)),
        "error": prediction.error or None,
    }


def _class_of(column: str) -> str:
    name = column.removeprefix("class:")
    return name if name in FIXED else column


@contextmanager
def _csv(part: Path, columns: list[str]) -> Iterator[Write]:
    with part.open("w", newline="", encoding="utf-8") as stream:
        names = ["file", "prediction", "probability", *columns, "error"]
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        yield lambda rows: writer.writerows(_row(row, columns) for row in rows)


@contextmanager
def _parquet(part: Path, columns: list[str]) -> Iterator[Write]:
    schema = pa.schema(
        [("file", pa.string()), ("prediction", pa.string()), ("probability", pa.float64())]
        + [(name, pa.float64()) for name in columns]
        + [("error", pa.string())]
    )
    with pq.ParquetWriter(part, schema) as writer:
        yield lambda rows: writer.write_table(
            pa.Table.from_pylist([_row(row, columns) for row in rows], schema)
        )


@contextmanager
def _json(part: Path, columns: list[str]) -> Iterator[Write]:
    with part.open("w", encoding="utf-8") as stream:
        separator = "[\n"

        def write(rows: list[Prediction]) -> None:
            nonlocal separator
            for row in rows:
                stream.write(separator + json.dumps(_row(row, columns)))
                separator = ",\n"

        yield write
        stream.write("[]\n" if separator == "[\n" else "\n]\n")
