"""The file formats of predictions.

A new format is one function with `@register` above it: it opens the file and yields what writes a
table's rows to it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pets.io.csv_cells import write_cell
from pets.io.serialize import to_json

WriteRows = Callable[[pa.Table], None]
OpenWriter = Callable[[Path, pa.Schema], Iterator[WriteRows]]

_ROWS = 1024  # that are Python's values at a time


@dataclass(frozen=True)
class Format:
    """How a table of predictions is written.

    Attributes:
        suffix: of the file's name, such as `.csv`.
        doc: what the file is, in one line.
        open: from a file and the table's schema to what writes rows, as a context manager.
    """

    suffix: str
    doc: str
    open: Callable[[Path, pa.Schema], AbstractContextManager[WriteRows]]


FORMATS: dict[str, Format] = {}


def register(suffix: str, doc: str) -> Callable[[OpenWriter], OpenWriter]:
    """Make a format known by its suffix."""

    def add(open_writer: OpenWriter) -> OpenWriter:
        FORMATS[suffix] = Format(suffix, doc, contextmanager(open_writer))
        return open_writer

    return add


@register(".csv", "a header and a line for each photo; no cell is a formula for a spreadsheet")
def _csv(file: Path, schema: pa.Schema) -> Iterator[WriteRows]:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(map(write_cell, schema.names))

        def write(table: pa.Table) -> None:
            for rows in table.to_batches(_ROWS):
                columns = (map(write_cell, column.to_pylist()) for column in rows.columns)
                writer.writerows(zip(*columns, strict=True))

        yield write


@register(".parquet", "typed columns, compressed")
def _parquet(file: Path, schema: pa.Schema) -> Iterator[WriteRows]:
    with pq.ParquetWriter(file, schema) as writer:
        yield lambda table: writer.write_table(table.cast(schema))


@register(".json", "a list with an object for each photo")
def _json(file: Path, schema: pa.Schema) -> Iterator[WriteRows]:
    with file.open("w", encoding="utf-8") as stream:
        separator = "[\n"

        def write(table: pa.Table) -> None:
            nonlocal separator
            for rows in table.to_batches(_ROWS):
                for row in rows.to_pylist():
                    stream.write(separator + to_json(row))
                    separator = ",\n"

        yield write
        stream.write("[]\n" if separator == "[\n" else "\n]\n")
