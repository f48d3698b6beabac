"""Which photos there are, and the label of each: from the file name, the folder or a table."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pets.cells import plain
from pets.config import DataConfig
from pets.data.images import SUFFIXES
from pets.data.remarks import Remarks
from pets.errors import DataError, some

if TYPE_CHECKING:
    import pandas as pd


def find_photos(root: Path, images: str, remarks: Remarks) -> list[str]:
    """Every image file below `root/images` by its suffix, as sorted paths relative to root.

    Paths have forward slashes on every system; hidden files and folders are left alone, links to
    folders not followed. Raises DataError where there is none.
    """
    folder = root / images
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no folder {folder}; give data.root=<your photos>")
    photos: list[Path] = []
    others: list[Path] = []
    hidden: list[Path] = []
    broken: list[Path] = []
    misnamed: list[str] = []
    for path in _everything(folder, remarks):
        if not _is_text(path.name):
            misnamed.append(ascii(path.relative_to(root).as_posix()))
        elif path.is_symlink() and not path.exists():
            broken.append(path)
        elif not path.is_file():
            if path.suffix.lower() in SUFFIXES:
                others.append(path)
        elif any(part.startswith(".") for part in path.relative_to(folder).parts):
            hidden.append(path)
        else:
            (photos if path.suffix.lower() in SUFFIXES else others).append(path)
    found = _below(root, photos)
    if misnamed:
        words = "names in another encoding than UTF-8, rename them"
        remarks.error("bad name", None, f"{folder}: {words}: {some(misnamed)}")
    if not found:
        raise DataError(
            f"{folder}: no images; expected files ending in {', '.join(sorted(SUFFIXES))}"
        )
    remarks.note("not a photo", _below(root, others), lambda paths: _not_photos(folder, paths))
    remarks.aside("not a photo", _below(root, hidden), lambda paths: f"hidden: {some(paths)}")
    remarks.warning(
        "missing",
        _below(root, broken),
        lambda paths: f"left out links that lead nowhere, {len(paths):,}: {some(paths)}",
    )
    return found


def _everything(folder: Path, remarks: Remarks) -> Iterator[Path]:
    """All files below a folder, and folders that are named like photos; of those that cannot be
    read it is said."""

    def closed(error: OSError) -> None:
        line = f"{error.filename}: the folder cannot be read ({error.strerror})"
        remarks.error("unreadable", None, line)

    for where, folders, files in os.walk(folder, onerror=closed):
        named = (name for name in folders if PurePosixPath(name).suffix.lower() in SUFFIXES)
        yield from (Path(where, name) for name in (*named, *files))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding, as Python keeps them
        return False
    return True


def _below(root: Path, files: list[Path]) -> list[str]:
    return sorted(file.relative_to(root).as_posix() for file in files)


def _not_photos(folder: Path, paths: list[str]) -> str:
    suffixes = Counter(PurePosixPath(path).suffix.lower() or "no suffix" for path in paths)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(suffixes.items()))
    return f"{folder}: left out what is no photo by its suffix: {kinds}"


def label_from_filename(paths: list[str], label_regex: str) -> dict[str, str | None]:
    """Match the regex on the file name alone (fastai's `from_name_re`), so it works on every OS.

    The label is the group named `label`, else the first group; None where nothing matches.
    Raises DataError for a regex that is wrong or has no group.
    """
    try:
        pattern = re.compile(label_regex)
    except re.error as error:
        raise DataError(f"data.label_regex={label_regex}: not a regex ({error})") from error
    if pattern.groups == 0:
        raise DataError(
            f"data.label_regex={label_regex}: has no group; put the label's part in brackets, "
            r"""e.g. "data.label_regex='^(.+)_\d+\.jpg$'" """.strip()
        )
    group: str | int = "label" if "label" in pattern.groupindex else 1
    matches = {path: pattern.search(PurePosixPath(path).name) for path in paths}
    return {path: (match[group] or None) if match else None for path, match in matches.items()}


def label_from_folder(paths: list[str]) -> dict[str, str | None]:
    """The name of the folder that a photo lies in; None for photos in no folder."""
    return {path: PurePosixPath(path).parent.name or None for path in paths}


def read_table(root: Path, config: DataConfig, remarks: Remarks | None = None) -> pd.DataFrame:
    """The CSV or Parquet table with columns `path`, `label` and, where asked for, `split`.

    Rows without a path, and all but the first of a path, are told to `remarks` and left out.
    Raises DataError for a missing file or column.
    """
    import pandas as pd

    assert config.table is not None
    file = root / config.table
    if not file.is_file():
        raise DataError(f"data.table={config.table}: no such file {file}")
    try:
        if file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file)
        else:
            # A breed may be called NA or None; only an empty cell is empty.
            frame = pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""])
            frame = frame.map(plain).rename(columns=plain)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"data.table={file}: cannot be read ({reason})") from error
    wanted = {"path": config.path_column, "label": config.label_column}
    if config.split_column is not None:
        wanted["split"] = config.split_column
    for key, column in wanted.items():
        if column not in frame.columns:
            raise DataError(
                f"data.{key}_column={column}: {file.name} has no such column; "
                f"it has {', '.join(map(str, frame.columns))}"
            )
    table = pd.DataFrame({key: frame[column] for key, column in wanted.items()})
    empty = table["path"].isna().to_numpy()
    table["path"] = table["path"].astype(str).str.replace("\\", "/")
    twice = table["path"].duplicated().to_numpy() & ~empty
    if remarks is not None:
        rows = [f"row {row + 1}" for row in empty.nonzero()[0]]
        remarks.error(
            "bad row",
            rows,
            lambda rows: f"{file}: {rows[0]} has no path ({len(rows):,} such rows)",
        )
        prefix = PurePosixPath(config.images)
        doubled = [(prefix / path).as_posix() for path in table.loc[twice, "path"]]
        remarks.error(
            "bad row", doubled, lambda paths: f"{file}: names photos twice: {some(paths)}"
        )
    return table[~(empty | twice)]


def label_from_table(root: Path, config: DataConfig, remarks: Remarks) -> dict[str, str | None]:
    """The photos and labels that a table names; those that are not there are told to `remarks`."""
    table = read_table(root, config, remarks)
    prefix = PurePosixPath(config.images)
    paths = [(prefix / path).as_posix() for path in table["path"]]
    missing = {path for path in paths if not (root / path).is_file()}
    remarks.error(
        "missing",
        sorted(missing),
        lambda paths: (
            f"{root / str(config.table)}: names {len(paths):,} files that are not below "
            f"{root}: {some(paths)}"
        ),
    )
    return {
        path: None if label is None or label != label else str(label)
        for path, label in zip(paths, table["label"], strict=True)
        if path not in missing
    }


def read_csv_of_photos(name: str, file: Path, *columns: str, more: str = "") -> pd.DataFrame:
    """A CSV of texts with these columns, and perhaps `more`. Raises DataError, which begins with
    the `name`."""
    import pandas as pd

    if not file.is_file():
        raise DataError(f"{name}: no such file")
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        frame = frame.map(plain).rename(columns=plain)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: cannot be read as CSV ({reason})") from error
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        expected, has = ",".join((*columns, *more.split())), ", ".join(map(str, frame.columns))
        raise DataError(f"{name}: has no column {absent[0]}; expected {expected}, found {has}")
    return frame


def relabel(labels: dict[str, str], file: Path) -> dict[str, str]:
    """Put the labels of a CSV with the columns `path` and `label` in the place of those found.

    Paths are relative to the data's root, as in a run's photos.csv. A column `given`, as in a table
    of suspects, is what the label was: it must be so. Raises DataError for a table that is damaged
    or meant for other photos, and for a label that no photo has: a new class would be a slip of the
    pen.
    """
    name = f"data.relabel={file}"
    frame = read_csv_of_photos(name, file, "path", "label")
    new = dict(zip(frame["path"], frame["label"], strict=True))
    if len(new) < len(frame):
        twice = frame.loc[frame["path"].duplicated(), "path"].tolist()
        raise DataError(f"{name}: names photos twice: {some(twice)}")
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
