"""Which photos there are, and the label of each: from the file name, the folder or a table."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pets.config import DataConfig
from pets.data.images import SUFFIXES
from pets.errors import DataError, some

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def find_photos(root: Path, images: str) -> list[str]:
    """Every image file below `root/images` by its suffix, as sorted paths relative to root.

    Paths have forward slashes on every system; hidden files and folders are left alone.
    Raises DataError where there is none.
    """
    folder = root / images
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no folder {folder}; give data.root=<your photos>")
    files = [
        path
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    photos = [path for path in files if path.suffix.lower() in SUFFIXES]
    found = sorted(path.relative_to(root).as_posix() for path in photos)
    others = Counter(path.suffix.lower() or "no suffix" for path in set(files) - set(photos))
    if found and others:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(others.items()))
        log.info("%s: left out what is no photo by its suffix: %s", folder, kinds)
    if not found:
        raise DataError(
            f"{folder}: no images; expected files ending in {', '.join(sorted(SUFFIXES))}"
        )
    return found


def label_from_filename(paths: list[str], label_regex: str) -> dict[str, str | None]:
    """Match the regex on the file name alone (fastai's `from_name_re`), so it works on every OS.

    The label is the group named `label`, else the first group; None where nothing matches.
    Raises DataError for a regex that is wrong, has no group or matches nothing.
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
    labels = {path: (match[group] or None) if match else None for path, match in matches.items()}
    if not any(labels.values()):
        names = some([PurePosixPath(path).name for path in paths])
        raise DataError(
            f"data.label_regex={label_regex}: matches none of {len(paths):,} files ({names})"
        )
    return labels


def label_from_folder(paths: list[str]) -> dict[str, str | None]:
    """The name of the folder that a photo lies in; None for photos in no folder."""
    return {path: PurePosixPath(path).parent.name or None for path in paths}


def read_table(root: Path, config: DataConfig) -> pd.DataFrame:
    """The CSV or Parquet table with columns `path`, `label` and, where asked for, `split`.

    Raises DataError for a missing file or column, a path named twice, or an empty cell.
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
    empty = table[["path"]].isna().any(axis=1)
    if empty.any():
        row = int(empty.to_numpy().argmax()) + 1
        raise DataError(f"{file}: row {row} has no path ({int(empty.sum()):,} such rows)")
    table["path"] = table["path"].astype(str).str.replace("\\", "/")
    twice = table.loc[table["path"].duplicated(), "path"].tolist()
    if twice:
        raise DataError(f"{file}: names photos twice: {some(twice)}")
    return table


def label_from_table(root: Path, config: DataConfig) -> dict[str, str | None]:
    """The photos and labels that a table names. Raises DataError when it names missing files."""
    table = read_table(root, config)
    missing = [path for path in table["path"] if not (root / config.images / path).is_file()]
    if missing:
        raise DataError(
            f"{root / str(config.table)}: names {len(missing):,} files that are not below "
            f"{root / config.images}: {some(missing)}"
        )
    prefix = PurePosixPath(config.images)
    labels: dict[str, str | None] = {}
    for path, label in zip(table["path"], table["label"], strict=True):
        labels[(prefix / path).as_posix()] = None if label is None or label != label else str(label)
    return labels


def relabel(labels: dict[str, str], file: Path) -> dict[str, str]:
    """Put the labels of a CSV with the columns `path` and `label` in the place of those found.

    Paths are relative to the data's root, as in a run's photos.csv. A column `given`, as in a table
    of suspects, is what the label was: it must be so. Raises DataError for a table that is damaged
    or meant for other photos, and for a label that no photo has: a new class would be a slip of the
    pen.
    """
    import pandas as pd

    name = f"data.relabel={file}"
    if not file.is_file():
        raise DataError(f"{name}: no such file")
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: cannot be read as CSV ({reason})") from error
    absent = [column for column in ("path", "label") if column not in frame.columns]
    if absent:
        has = ", ".join(map(str, frame.columns))
        raise DataError(f"{name}: has no column {absent[0]}; expected path,label, found {has}")
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
