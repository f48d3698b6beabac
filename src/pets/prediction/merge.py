"""Shards put together as one file: CSV, Parquet or JSON, in place only when whole."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pets.io.atomic import replacing
from pets.io.csv_cells import write_cell
from pets.io.serialize import to_json
from pets.prediction.shards import Shards

Write = Callable[[pa.Table], None]

_AT_ONCE = 1024  # rows as Python's values


def join(shards: Shards, count: int, out: Path, schema: pa.Schema) -> None:
    """The rows of the first `count` shards, in their order, as `out`, whose suffix chooses the
    format. Raises OSError where it cannot be written."""
    with replacing(out) as part, WRITERS[out.suffix.lower()](part, schema) as write:
        for index in range(count):
            write(shards.table(index))


@contextmanager
def _csv(part: Path, schema: pa.Schema) -> Iterator[Write]:
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(map(write_cell, schema.names))

        def write(table: pa.Table) -> None:
            for rows in table.to_batches(_AT_ONCE):
                columns = (map(write_cell, column.to_pylist()) for column in rows.columns)
                writer.writerows(zip(*columns, strict=True))

        yield write


@contextmanager
def _parquet(part: Path, schema: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(part, schema) as writer:
        yield lambda table: writer.write_table(table.cast(schema))


@contextmanager
def _json(part: Path, schema: pa.Schema) -> Iterator[Write]:
    with part.open("w", encoding="utf-8") as stream:
        separator = "[\n"

        def write(table: pa.Table) -> None:
            nonlocal separator
            for rows in table.to_batches(_AT_ONCE):
                for row in rows.to_pylist():
                    stream.write(separator + to_json(row))
                    separator = ",\n"

        yield write
        stream.write("[]\n" if separator == "[\n" else "\n]\n")


WRITERS = {".csv": _csv, ".parquet": _parquet, ".json": _json}
