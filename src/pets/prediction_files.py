"""Predictions on disk: CSV, Parquet or JSON, written as they come, in place only when whole."""

from __future__ import annotations

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


@contextmanager
def prediction_file(out: Path, classes: list[str]) -> Iterator[Write]:
    """A function that appends predictions to `out`, whose suffix chooses the format.

    Columns: file, prediction, probability (of the prediction), one for each class, and error (why
    a file could not be read). Raises ConfigError for another suffix.
    """
    writers = {".csv": _csv, ".parquet": _parquet, ".json": _json}
    if out.suffix not in writers:
        raise ConfigError(f"out={out}: unknown format; expected {', '.join(writers)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    try:
        with writers[out.suffix](part, classes) as write:
            yield write
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def best(prediction: Prediction, classes: list[str]) -> tuple[str, float] | None:
    """The most probable class and its probability; None for a file that could not be read."""
    if prediction.probabilities is None:
        return None
    probability = max(prediction.probabilities)
    return classes[prediction.probabilities.index(probability)], probability


def _row(prediction: Prediction, classes: list[str]) -> dict[str, Any]:
    name, probability = best(prediction, classes) or (None, None)
    values: list[Any] = prediction.probabilities or [None] * len(classes)
    return {
        "file": str(prediction.file),
        "prediction": name,
        "probability": probability,
        **dict(zip(classes, values, strict=True)),
        "error": prediction.error or None,
    }


@contextmanager
def _csv(part: Path, classes: list[str]) -> Iterator[Write]:
    with part.open("w", newline="", encoding="utf-8") as stream:
        columns = ["file", "prediction", "probability", *classes, "error"]
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        yield lambda rows: writer.writerows(_row(row, classes) for row in rows)


@contextmanager
def _parquet(part: Path, classes: list[str]) -> Iterator[Write]:
    schema = pa.schema(
        [("file", pa.string()), ("prediction", pa.string()), ("probability", pa.float64())]
        + [(name, pa.float64()) for name in classes]
        + [("error", pa.string())]
    )
    with pq.ParquetWriter(part, schema) as writer:
        yield lambda rows: writer.write_table(
            pa.Table.from_pylist([_row(row, classes) for row in rows], schema)
        )


@contextmanager
def _json(part: Path, classes: list[str]) -> Iterator[Write]:
    with part.open("w", encoding="utf-8") as stream:
        separator = "[\n"

        def write(rows: list[Prediction]) -> None:
            nonlocal separator
            for row in rows:
                stream.write(separator + json.dumps(_row(row, classes)))
                separator = ",\n"

        yield write
        stream.write("[]\n" if separator == "[\n" else "\n]\n")
