"""Tables of photos: labels and splits of a data set, corrected labels, excluded photos."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Container
from pathlib import Path

from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics, log
from pets.data.name_matching import PhotoNames
from pets.errors import DataError, some
from pets.io.csv_cells import read_cell

Row = dict[str, str]


def read_rows(name: str, file: Path, *columns: str) -> list[Row]:
    """Read a CSV (separated by commas, semicolons or tabs) or Parquet file as text.

    Raises DataError if it cannot be read or lacks one of the `columns`; `name`, as in
    `data.table=labels.csv`, begins the message.
    """
    if not file.is_file():
        raise DataError(f"{name}: no such file")
    try:
        read = _read_parquet if file.suffix.lower() == ".parquet" else _read_csv
        header, rows = read(file, columns)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: is not UTF-8 text; save it as CSV in UTF-8") from error
    except Exception as error:  # pyarrow raises many kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: cannot be read as a table ({reason})") from error
    if twice := [column for column, n in Counter(header).items() if column and n > 1]:
        raise DataError(f"{name}: has several columns {twice[0]}; give each column its own name")
    for column in columns:
        if column not in header:
            raise DataError(
                f"{name}: has no column {column}; its first line names {some(header) or 'none'}"
            )
    return rows


def _read_csv(file: Path, columns: tuple[str, ...]) -> tuple[list[str], list[Row]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        head = stream.readline()
        stream.seek(0)
        separators = [
            separator
            for separator in ",;\t"
            if {*columns} <= {cell.strip(' "\r\n') for cell in head.split(separator)}
        ]
        reader = csv.DictReader(
            stream, delimiter=(separators or [","])[0], restval="", skipinitialspace=True,
            strict=True,
        )  # fmt: skip
        rows = []
        for row in reader:
            if None in row:
                raise ValueError(
                    f"line {reader.line_num} has more cells than the first line; put cells with "
                    'commas in "quotes"'
                )
            rows.append({_column(column): read_cell(cell) for column, cell in row.items()})
        return [_column(column) for column in reader.fieldnames or ()], rows


def _column(name: str) -> str:
    return str(read_cell(name)).strip()


def _read_parquet(file: Path, columns: tuple[str, ...]) -> tuple[list[str], list[Row]]:
    import pandas as pd

    def as_text(value: object) -> str:
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        if isinstance(value, float) and value.is_integer():  # an integer column with empty cells
            value = int(value)
        return "" if value is None or value is pd.NA else str(value)

    frame = pd.read_parquet(file, dtype_backend="numpy_nullable").astype(object)
    frame = frame.where(frame.notna(), None)
    rows = [{str(k): as_text(v) for k, v in row.items()} for row in frame.to_dict("records")]
    return list(map(str, frame.columns)), rows


def _rows_of(config: DataConfig) -> list[Row]:
    file = Path(config.root) / str(config.table)
    columns = [
        config.path_column, config.label_column, config.split_column, config.group_column,
        config.superclass if isinstance(config.superclass, str) else None,
    ]  # fmt: skip
    return read_rows(f"data.table={file}", file, *filter(None, columns))


def labels_from_table(
    paths: list[str], config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str | None]:
    """Return the label of each photo that `data.table` names; None for an empty cell.

    Rows that match no photo, several photos, or the photo of an earlier row are reported.
    """
    root = Path(config.root)
    file, rows = root / str(config.table), _rows_of(config)
    if not rows:
        raise DataError(f"data.table={file}: has no rows; expected one per photo")
    given = [row[str(config.path_column)] or f"row {n}" for n, row in enumerate(rows, 1)]
    matches = PhotoNames(paths, config.images, root).match(given)
    matches.report(file, root / config.images, diagnostics)
    numbers = defaultdict(list)
    for number, name in enumerate(given, 1):
        if name in matches.photos:
            numbers[matches.photos[name]].append(number)
    twice = sorted(path for path, its in numbers.items() if len(its) > 1)
    for path in twice[:1]:
        which = f"{path} is in rows {' and '.join(map(str, numbers[path]))}"
        line = f"{file}: names <n> photos twice: <photos>; {which}; expected one row per photo"
        diagnostics.error("bad row", twice, line)
    unnamed = [path for path in paths if path not in numbers]
    diagnostics.note("unused", unnamed, f"{file}: does not name <n> photos: <photos>")
    labels = (rows[its[0] - 1][str(config.label_column)] for its in numbers.values())
    return {path: label.strip() or None for path, label in zip(numbers, labels, strict=True)}


def column_of_table(names: PhotoNames, config: DataConfig, column: str) -> dict[str, str]:
    """Return the value in a column of each photo that the table names."""
    values: dict[str, str] = {}
    for row in _rows_of(config):
        for path in names.find(row[str(config.path_column)])[:1]:
            values.setdefault(path, row[column])
    return values


def relabel(labels: dict[str, str], file: Path) -> dict[str, str]:
    """Replace labels by those of a table with the columns `path` and `label`.

    Paths are those of a run's photos.csv. If there is a column `given`, as in a table of suspects,
    it must equal the present label; rows where it is empty, as in a table of `pets label`, are of
    photos without one, and left to `data=table`. Raises DataError if the table is for other photos,
    or has a label that no photo has (probably a typo).
    """
    name = f"data.relabel={file}"
    names, table = PhotoNames(labels), read_rows(name, file, "path", "label")
    if bare := [row["path"] for row in table if row.get("given") == ""]:
        line = "%s: left out %s photos that had no label before (%s); data=table uses them"
        log.info(line, name, f"{len(bare):,}", some(bare))
    rows = [row | {"path": names.path(row["path"])} for row in table if row.get("given") != ""]
    twice = [path for path, count in Counter(row["path"] for row in rows).items() if count > 1]
    if twice:
        raise DataError(f"{name}: names photos twice: {some(twice)}; expected one row per photo")
    new = {row["path"]: row["label"] for row in rows}
    unknown = [path for path in new if path not in labels]
    if unknown:
        raise DataError(f"{name}: {len(unknown):,} paths match no photo: {some(unknown)}")
    if strange := sorted(set(new.values()) - set(labels.values())):
        shown = some([label or "an empty one" for label in strange])
        raise DataError(f"{name}: no photo has such a label: {shown}; expected an existing label")
    for row in rows:
        if (given := row.get("given", labels[row["path"]])) != labels[row["path"]]:
            raise DataError(
                f"{name}: was made for other labels: {row['path']} is {labels[row['path']]}, not "
                f"{given}; were the labels already corrected?"
            )
    return labels | new


def read_excluded(file: str | None) -> frozenset[str]:
    """Return the paths of rows with `proposed` = `exclude`, or of all rows without such a column.

    The table is one that `pets verify` writes. Raises DataError if it cannot be used.
    """
    if file is None:
        return frozenset()
    name = f"data.exclude={file}"
    rows = read_rows(name, Path(file), "path")
    if strange := {row.get("proposed", "exclude") for row in rows} - {"keep", "exclude"}:
        shown = some(sorted(value or "an empty cell" for value in strange))
        raise DataError(f"{name}: column proposed has {shown}; expected keep or exclude")
    excluded = [row["path"] for row in rows if row.get("proposed", "exclude") == "exclude"]
    return frozenset(filter(None, excluded))


def without_excluded(
    file: str, known: Container[str], splits: dict[str, str], diagnostics: Diagnostics
) -> dict[str, str]:
    """Return the splits without the excluded photos; log their number and unknown rows.

    Raises DataError if no row names a photo.
    """
    gone = Counter(split for path, split in splits.items() if path in diagnostics.excluded)
    unknown = sorted(p for p in diagnostics.excluded - diagnostics.excluded_hits if p not in known)
    if unknown and len(unknown) == len(diagnostics.excluded):
        raise DataError(
            f"data.exclude={file}: none of its {len(unknown):,} rows names a photo "
            f"({some(unknown)}); expected paths relative to data.root"
        )
    counts = ", ".join(f"{count:,} {split}" for split, count in gone.items())
    photos = "1 photo" if gone.total() == 1 else f"{gone.total():,} photos"
    log.info("data.exclude=%s: left out %s (%s)", file, photos, counts or "none")
    if unknown:
        line = "data.exclude=%s: %s rows name no photo: %s"
        log.warning(line, file, f"{len(unknown):,}", some(unknown))
    return {path: split for path, split in splits.items() if path not in diagnostics.excluded}
