"""A data set of the Hugging Face hub, or in one of its formats, as a folder of photos and a table.

The library `datasets` reads it; from version 4 on it runs no code of a data set. Photos are written
byte for byte, under names of ours: nothing in the data set names a file.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from huggingface_hub import constants as hub
from PIL import Image
from tqdm import tqdm

from pets.config.base import expanded
from pets.data.images import FORMATS
from pets.data.splits import SPLIT_NAMES
from pets.errors import DataError, reason_of, some
from pets.io.atomic import folder_atomically
from pets.io.csv_cells import write_cell
from pets.system.installation import install
from pets.system.reachable import check_reachable

log = logging.getLogger(__name__)

_SUFFIXES = {
    "JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp",
    "TIFF": ".tiff", "PPM": ".ppm", "AVIF": ".avif", "HEIF": ".heic",
}  # fmt: skip
_LABELS = ("label", "labels", "class", "category")  # usual names of a column of texts


def materialise(
    root: Path,
    dataset: str,
    subset: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> None:
    """Write the photos of a data set to `root/images`, and their table to `root/labels.csv`.

    The table has path, label and split.

    Args:
        root: The folder to be made.
        dataset: A name on the hub, or a folder that `datasets` opens: photos in class folders,
            Parquet files, or what `save_to_disk` wrote.
        subset: Which of several configurations of the data set.
        image_column: The column of photos; by default the only one.
        label_column: The column of labels; by default the only one with class names.

    Raises:
        DataError: It cannot be read or downloaded, or a column or a split is not clear.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"data=hf needs the package datasets: {install('hub')}") from error
    dataset = expanded(dataset)
    splits = _load(datasets, dataset, subset)
    known = {name: split for name in splits if (split := SPLIT_NAMES.get(name.casefold()))}
    if not known:
        raise DataError(
            f"data.dataset={dataset}: its splits are {some(list(splits))}; expected one for "
            "training, such as train"
        )
    if unused := [name for name in splits if name not in known]:
        log.info("left out the splits %s: they are not for training or measuring", some(unused))
    first = splits[next(iter(known))].features
    image = _column(dataset, first, "image_column", image_column, datasets.Image)
    label = _column(dataset, first, "label_column", label_column, datasets.ClassLabel)
    log.info("data.dataset=%s: photos from the column %s, labels from %s", dataset, image, label)
    inside = [Path(path).resolve() for path in (dataset, hub.HF_HOME, hub.HF_HUB_CACHE)]
    inside.append(Path(datasets.config.HF_DATASETS_CACHE).resolve())
    with folder_atomically(root) as folder:
        (folder / "images").mkdir()
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("path", "label", "split"))
            without: Counter[str] = Counter()
            numbers = count()
            for name, split in known.items():
                rows = splits[name].cast_column(image, datasets.Image(decode=False))
                files = (folder / f"images/{split}_{number:06}" for number in numbers)
                for path, text in _write(rows, image, label, files, inside):
                    if text is None:
                        without[name] += 1
                    else:
                        writer.writerow(map(write_cell, (path, text, split)))
    for name, photos in without.items():
        log.info("left out %s photos of the split %s: they have no label", f"{photos:,}", name)


def _load(datasets: Any, dataset: str, subset: str | None) -> dict[str, Any]:
    """Open the data set. Returns its splits."""
    path = Path(dataset)
    local = path.is_dir()
    if not local and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", dataset):
        raise DataError(
            f"data.dataset={dataset}: no such folder, and no name on the Hugging Face hub; "
            "expected a folder, or user/name"
        )
    try:
        if not local:
            check_reachable(hub.ENDPOINT)  # the client would retry for minutes
        if local and ((path / "dataset_dict.json").exists() or (path / "state.json").exists()):
            found = datasets.load_from_disk(dataset)
        else:
            found = datasets.load_dataset(str(path.resolve()) if local else dataset, subset)
    except Exception as error:  # datasets and its readers raise anything
        reason = reason_of(error)
        raise DataError(
            f"data.dataset={dataset}: cannot be {'opened' if local else 'downloaded'} ({reason}); "
            "expected a name on the Hugging Face hub, as in user/name, or a folder that the "
            "package datasets opens"
        ) from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _column(dataset: str, features: Any, key: str, asked: str | None, kind: type) -> str:
    """Return the column that was asked for, or the only one of a kind; of texts, the first with a
    usual name of labels."""
    names = list(features)
    if asked is not None:
        if asked in names:
            return asked
        raise DataError(
            f"data.prepare.{key}={asked}: {dataset} has no such column; it has {some(names, 8)}"
        )
    fitting = [name for name in names if type(features[name]) is kind]
    if not fitting and key == "label_column":
        fitting = [name for name in _LABELS if name in names][:1]
    if len(fitting) != 1:
        what = key.partition("_")[0]
        which = f"several columns of {what}s" if fitting else f"no column of {what}s"
        raise DataError(
            f"data.dataset={dataset}: has {which}; its columns are {some(names, 8)}; choose one "
            f"with data.prepare.{key}=..."
        )
    return fitting[0]


def _write(
    rows: Any, image: str, label: str, files: Iterator[Path], inside: list[Path]
) -> Iterator[tuple[str, str | None]]:
    """Write a split's labelled photos, with a suffix added to the names of `files`; yield the name
    and the label of each, None if it has none."""
    text_of = getattr(rows.features[label], "int2str", str)
    for row in tqdm(rows, desc="photos", unit="photo", leave=False, disable=None):
        value = row[label]
        if value is None or value == -1:  # -1: the usual label of test photos without one
            yield "", None
            continue
        content = _content(row[image], inside)
        file = next(files).with_suffix(_suffix(content))
        file.write_bytes(content)
        yield file.name, text_of(value)


def _content(photo: Any, inside: list[Path]) -> bytes:
    """Return the bytes of a photo, in the row or in a file of the data set's own."""
    if isinstance(photo, dict) and isinstance(photo.get("bytes"), bytes):
        return photo["bytes"]
    path = Path(photo["path"]) if isinstance(photo, dict) and photo.get("path") else None
    if path is None or not any(path.resolve().is_relative_to(folder) for folder in inside):
        # A file of somebody's data set may name any file of this machine.
        raise DataError(f"a photo without content ({path}); expected bytes, or one of its files")
    return path.read_bytes()


def _suffix(content: bytes) -> str:
    """Return the suffix of a photo's format; .jpg if it is none: it will be read, and named."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _SUFFIXES.get(str(image.format), ".jpg")
    except Exception:  # Pillow's readers raise anything
        return ".jpg"
