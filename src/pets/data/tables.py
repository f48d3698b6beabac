"""Tables of photos: labels and splits of a data set, corrected labels, excluded photos."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics
from pets.data.discovery import find_photos
from pets.data.name_matching import PhotoNames, doubts, normal, outside, twice
from pets.errors import DataError, some
from pets.io.csv_cells import read_cell

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_csv(name: str, file: Path, *columns: str) -> pd.DataFrame:
    """Read a CSV as text; empty cells are "".

    Cells are separated by commas, or by the separator that gives the header these columns.

    Args:
        name: begins every error message, as `data.table=labels.csv`.
        file: the CSV.
        *columns: expected in the header.

    Raises:
        DataError: The file is missing or cannot be read.
    """
    import pandas as pd

    if not file.is_file():
        raise DataError(f"{name}: no such file")
    try:
        with file.open(encoding="utf-8-sig") as stream:
            head = stream.readline().rstrip("\n")
        separator = next((s for s in _SEPARATORS if _has(head, s, columns)), ",")
        # A breed may be called NA or None; only an empty cell is empty.
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", pd.errors.ParserWarning
            )  # rows with more cells than the header
            frame = pd.read_csv(
                file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig",
                index_col=False, skipinitialspace=not _has(head, separator, columns, exactly=True),
            )  # fmt: skip
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: cannot be read as CSV (is not UTF-8 text); save it as CSV in UTF-8"
        ) from error
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"{name}: its rows have more cells than its first line; expected one name per column, "
            'and cells with commas in "quotes"'
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: cannot be read as CSV ({reason})") from error
    if separator != ",":
        log.info("%s: read with %s between the cells", name, _SEPARATORS[separator])
    frame = frame.fillna("")  # of rows that end early
    return frame.map(read_cell).rename(columns=read_cell)


def _has(head: str, separator: str, columns: tuple[str, ...], exactly: bool = False) -> bool:
    names = [name.strip('"') if exactly else name.strip(' "') for name in head.split(separator)]
    return set(columns) <= set(names)


def read_csv_of_photos(name: str, file: Path, *columns: str, more: str = "") -> pd.DataFrame:
    """A CSV with these columns, and perhaps `more`. Raises DataError, which begins with the
    `name`."""
    frame = read_csv(name, file, *columns)
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        expected, has = ",".join((*columns, *more.split())), ", ".join(map(str, frame.columns))
        raise DataError(f"{name}: has no column {absent[0]}; expected {expected}, found {has}")
    return frame


def read_table(root: Path, config: DataConfig, diagnostics: Diagnostics) -> pd.DataFrame:
    """Read `data.table`, a CSV or Parquet file.

    Rows are reported to `diagnostics` and left out if they have no path, or if their photo is
    missing, ambiguous or named by an earlier row.

    Returns:
        Columns `path` (of existing files, relative to root), `label` and, with
        `data.split_column`, `split`; all text, "" for empty cells. The index counts rows from 1.

    Raises:
        DataError: The file or a column is missing.
    """
    assert config.table is not None
    file = root / config.table
    wanted = {"path": config.path_column, "label": config.label_column}
    if config.split_column is not None:
        wanted["split"] = config.split_column
    frame = _frame(config.table, file, *map(str, wanted.values()))
    for key, column in wanted.items():
        if column not in frame.columns:
            raise DataError(
                f"data.{key}_column={column}: {file.name} has no such column; "
                f"it has {', '.join(map(str, frame.columns))} (the first line names the columns)"
            )
    if frame.empty:
        raise DataError(f"data.table={file}: has no rows; expected one per photo")
    table = frame[list(wanted.values())].set_axis(list(wanted), axis=1)
    table = table.apply(lambda column: column.astype(object).map(_as_text))
    # Counted from 1, without the header.
    table.index += 1
    empty = table["path"] == ""
    diagnostics.error(
        "bad row",
        [f"row {row}" for row in table.index[empty]],
        lambda rows: f"{file}: {rows[0]} has no path ({len(rows):,} such rows)",
    )
    table = table[~empty]
    given = table["path"]
    table = table.assign(path=_there(root, config, list(given), file, diagnostics))
    table = table[table["path"] != ""]
    pairs = twice(table["path"], root)
    rows = table.index
    repeats = {
        table["path"].iloc[later]: (
            f"row {rows[later]} ({given[rows[later]]}) is row {rows[first]} ({given[rows[first]]})"
        )
        for first, later in reversed(pairs)
    }
    diagnostics.error(
        "bad row",
        sorted(repeats),
        lambda paths: (
            f"{file}: names photos twice: {some(paths)}; {repeats[paths[0]]}; "
            "expected one row per photo"
        ),
    )
    return table.drop(index=[rows[later] for _, later in pairs])


def _frame(name: str, file: Path, *columns: str) -> pd.DataFrame:
    import pandas as pd

    if not file.is_file():
        raise DataError(f"data.table={name}: no such file {file}")
    if file.suffix.lower() != ".parquet":
        return read_csv(f"data.table={file}", file, *columns)
    try:
        # Integers stay integers in columns with empty cells.
        return pd.read_parquet(file, dtype_backend="numpy_nullable").reset_index(drop=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"data.table={file}: cannot be read ({reason})") from error


def _as_text(value: object) -> str:
    """A cell as text: `1` for 1.0, "" for missing values and blanks."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    nothing = not isinstance(value, str) and text in ("None", "nan", "NaT", "<NA>")
    return "" if nothing or not text.strip() else text


def _there(
    root: Path, config: DataConfig, given: list[str], file: Path, diagnostics: Diagnostics
) -> list[str]:
    """Return the photo of each path of a table, below `images` or root; "" if there is none.

    A name without suffix or folder is matched to all photos.
    """
    paths = [next(_on_disk(root, config.images, name), "") for name in given]
    unknown = [name for name, path in zip(given, paths, strict=True) if not path]
    if not unknown:
        return paths
    away = [name for name in unknown if outside(_below(root, config.images, name))]
    diagnostics.error(
        "missing",
        away,
        lambda names: (
            f"{file}: names {len(names):,} files outside {root}: {some(names)}; "
            "expected paths below data.root, or links there"
        ),
    )
    names = PhotoNames(find_photos(root, config.images, diagnostics), config.images)
    matches = {name: names.find(name) for name in unknown if name not in set(away)}
    doubtful = {name: photos for name, photos in matches.items() if len(photos) > 1}
    diagnostics.error(
        "ambiguous", list(doubtful), lambda _: f"{file}: {doubts(doubtful)} in the column of paths"
    )
    missing = [name for name, photos in matches.items() if not photos]
    images = root / config.images
    diagnostics.error(
        "missing",
        sorted({_below(root, config.images, name) for name in missing}),
        lambda paths: (
            f"{file}: names {len(paths):,} files that are not below {images}: {some(paths)}"
            + ("; does data.path_column name the right column?" if len(paths) == len(given) else "")
        ),
    )
    return [
        path or (matches[name][0] if len(matches.get(name, ())) == 1 else "")
        for name, path in zip(given, paths, strict=True)
    ]


def _below(root: Path, images: str, name: str) -> str:
    return normal(name if os.path.isabs(name) else f"{images}/{name}", root)  # noqa: PTH117


def _on_disk(root: Path, images: str, name: str) -> Iterator[str]:
    for folder in (images, "."):
        for spelled in dict.fromkeys((name, name.strip())):
            path = _below(root, folder, spelled)
            if not outside(path) and os.path.isfile(f"{root}/{path}"):  # noqa: PTH113
                yield path


def label_from_table(
    root: Path, config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str | None]:
    """Return the label of each photo of the table; None for an empty cell."""
    table = read_table(root, config, diagnostics)
    return {path: label or None for path, label in zip(table["path"], table["label"], strict=True)}


def relabel(labels: dict[str, str], file: Path, root: Path = Path()) -> dict[str, str]:
    """Replace labels by those of a CSV with the columns `path` and `label`.

    Paths are relative to the data's root, as in a run's photos.csv. If there is a column `given`,
    as in a table of suspects, it must equal the present label.

    Raises:
        DataError: The table is damaged or made for other photos, or it has a label that no photo
            has (most probably a typing error).
    """
    name = f"data.relabel={file}"
    frame = read_csv_of_photos(name, file, "path", "label")
    given = list(frame["path"])
    frame["path"] = [path if path in labels else normal(path, root) for path in given]
    if pairs := twice(frame["path"], root):
        first, later = pairs[0]
        shown = some([given[later] for _, later in pairs])
        raise DataError(
            f"{name}: names photos twice: {shown}; row {later + 1} is row {first + 1} "
            f"({given[first]})"
        )
    new = dict(zip(frame["path"], frame["label"], strict=True))
    unknown = [path for path in new if path not in labels]
    if unknown:
        raise DataError(f"{name}: {len(unknown):,} paths are none of the photos: {some(unknown)}")
    known = set(labels.values())
    strange = sorted({label for label in new.values() if label not in known})
    if strange:
        shown = some([label or "an empty one" for label in strange])
        raise DataError(f"{name}: no photo has such a label: {shown}; expected one of the data's")
    if "given" in frame.columns:
        before = dict(zip(frame["path"], frame["given"], strict=True))
        other = [path for path, label in before.items() if label != labels[path]]
        if other:
            path = other[0]
            raise DataError(
                f"{name}: was made for other labels: {path} is {labels[path]}, not {before[path]} "
                f"({len(other):,} such rows); are they changed already?"
            )
    return labels | new
