"""The photos of a run: one table of path, label and split, and what must hold of it."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Literal

import PIL

from pets.cache.once import OnceAContent
from pets.config import DataConfig
from pets.data.contents import digests
from pets.data.images import UnreadableImage, open_rgb
from pets.data.labels import (
    find_photos,
    label_from_filename,
    label_from_folder,
    label_from_table,
    relabel,
)
from pets.data.splits import TEST, TRAIN, VALID, read_list, split_photos
from pets.errors import DataError, some

log = logging.getLogger(__name__)
SPLITS = (TRAIN, VALID, TEST)
OTHER = "other"  # of photos that are not the run's


@dataclass(frozen=True)
class Photo:
    """One row of the table; the path is relative to the root, with forward slashes."""

    path: str
    label: str
    split: str


@dataclass(frozen=True)
class Photos:
    """Every photo of a run. `classes` are the sorted labels; a class's index is its place there."""

    root: Path
    rows: tuple[Photo, ...]

    @cached_property
    def classes(self) -> list[str]:
        return sorted({photo.label for photo in self.rows})

    def of(self, split: str) -> list[Photo]:
        """The photos of one split, in the table's order."""
        return [photo for photo in self.rows if photo.split == split]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every photo's path, label, split and content: the same data, the same words."""
        whole = blake2b(digest_size=16)
        for photo, content in zip(self.rows, self.contents(self.rows), strict=True):
            whole.update(f"{photo.path}\0{photo.label}\0{photo.split}\0".encode() + content)
        return whole.hexdigest()

    def contents(self, rows: Sequence[Photo]) -> list[bytes]:
        """A hash of the bytes of each of these photos, as they were when this was first asked."""
        return [self._contents[photo.path] for photo in rows]

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        paths = [photo.path for photo in self.rows]
        return dict(zip(paths, digests([self.root / path for path in paths]), strict=True))

    def save(self, file: Path) -> None:
        """Write the table as CSV."""
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "label", "split"])
            writer.writerows([photo.path, photo.label, photo.split] for photo in self.rows)

    @classmethod
    def load(cls, file: Path, root: Path, missing: Literal["refuse", "say"] = "refuse") -> Photos:
        """Read a table that `save` wrote.

        Raises DataError when a photo is not below `root`; with `missing="say"` when none is.
        """
        photos = cls(root, cls._rows(file))
        gone = photos.missing
        if gone and (missing == "refuse" or len(gone) == len(photos.rows)):
            raise DataError(
                f"{root}: {len(gone):,} of the run's {len(photos.rows):,} photos are not there "
                f"({some(gone)}); say where they lie now with data.root=..."
            )
        return photos

    @classmethod
    def known_below(cls, file: Path, root: Path) -> bool:
        """Whether any photo of a table that `save` wrote is below `root`."""
        return len(cls(root, rows := cls._rows(file)).missing) < len(rows)

    @cached_property
    def missing(self) -> list[str]:
        """Photos that are not there."""
        return [photo.path for photo in self.rows if not (self.root / photo.path).is_file()]

    @staticmethod
    def _rows(file: Path) -> tuple[Photo, ...]:
        try:
            with file.open(newline="", encoding="utf-8") as stream:
                rows = tuple(Photo(**row) for row in csv.DictReader(stream))
        except (OSError, TypeError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file}: cannot be read as the run's table of photos") from error
        if not rows:
            raise DataError(f"{file}: damaged, it names no photo")
        return rows


def collect_photos(config: DataConfig) -> Photos:
    """Find, label, check and split the photos of a data config.

    What is left out (photos in no list, unreadable ones, unlabelled ones) is said in the log.
    Raises DataError.
    """
    root = Path(config.root)
    labels = labelled(root, config)
    if config.on_bad_image == "skip":
        labels = _readable(root, labels)
    splits = split_photos(labels, root, config)
    if config.relabel is not None:
        # After the split, so that every photo stays where it was: runs before and after compare.
        labels = _relabelled(labels, splits, config.relabel)
    unlisted = [path for path in labels if path not in splits]
    if unlisted:
        log.info("left out %s photos that no split names: %s", f"{len(unlisted):,}", some(unlisted))
    rows = tuple(Photo(path, labels[path], splits[path]) for path in sorted(splits))
    photos = Photos(root, rows)
    _check(photos)
    return photos


def labelled(root: Path, config: DataConfig) -> dict[str, str]:
    """The label of every photo below `root` by its path, as the config says. Raises DataError."""
    if not root.is_dir():
        raise DataError(f"data.root={config.root}: no such folder")
    if config.label_from == "table":
        labels = label_from_table(root, config)
    else:
        paths = _listed(find_photos(root, config.images), root, config)
        if config.label_from == "filename":
            assert config.label_regex is not None
            labels = label_from_filename(paths, config.label_regex)
        else:
            labels = label_from_folder(paths)
    bare = [path for path, label in labels.items() if label is None]
    if bare:
        what = {
            "filename": f"data.label_regex={config.label_regex} does not match",
            "folder": "no label folder around",
            "table": f"data.table={config.table} has no label for",
        }[config.label_from]
        line = f"{what} {len(bare):,} of {len(labels):,} photos: {some(bare)}"
        if config.on_unlabelled == "error":
            raise DataError(f"{line}; data.on_unlabelled=skip leaves them out")
        log.warning("left out: %s", line)
    return {path: label for path, label in labels.items() if label is not None}


def _relabelled(labels: dict[str, str], splits: dict[str, str], file: str) -> dict[str, str]:
    new = relabel(labels, Path(file))
    changed = Counter(splits[path] for path in new if new[path] != labels[path] and path in splits)
    counts = ", ".join(f"{changed[split]:,} {split}" for split in SPLITS if changed[split])
    log.info("data.relabel=%s: changed %s labels (%s)", file, f"{changed.total():,}", counts)
    if changed[TEST]:
        log.warning(
            "data.relabel=%s: %s of them are test photos: the test accuracy is then one on your "
            "labels, not on those found",
            file, f"{changed[TEST]:,}",
        )  # fmt: skip
    return new


def _listed(paths: list[str], root: Path, config: DataConfig) -> list[str]:
    if config.photo_list is None:
        return paths
    file = root / config.photo_list
    if not file.is_file():
        raise DataError(f"data.photo_list={config.photo_list}: no such file {file}")
    by_stem = {PurePosixPath(path).stem: path for path in paths}
    stems = read_list(file)
    missing = [stem for stem in stems if stem not in by_stem]
    if missing:
        raise DataError(
            f"{file}: names {len(missing):,} photos that are not there: {some(missing)}"
        )
    return sorted(by_stem[stem] for stem in stems)


def _readable(root: Path, labels: dict[str, str]) -> dict[str, str]:
    """Decode every photo once and leave out those that cannot be read, saying which."""

    files = [root / path for path in labels]
    problems = dict(zip(labels, _problems.of_all(files, "checking photos"), strict=True))
    for line in filter(None, problems.values()):
        log.warning("left out: %s", line)
    return {path: label for path, label in labels.items() if problems[path] is None}


def _problem(file: Path) -> str | None:
    try:
        open_rgb(file)
    except UnreadableImage as error:
        return str(error)
    return None


# What could not be read may be readable tomorrow: a disk's error is not the photo's.
_problems = OnceAContent(f"read by pillow {PIL.__version__}", _problem, sure=lambda p: p is None)


def _check(photos: Photos) -> None:
    """What training needs: two classes, and every class among the training photos."""
    counts = {split: Counter(photo.label for photo in photos.of(split)) for split in SPLITS}
    if len(photos.classes) < 2:
        raise DataError(
            f"data.root={photos.root}: one label only ({', '.join(photos.classes)}) on "
            f"{len(photos.rows):,} photos; a classifier needs at least two"
        )
    untrained = [label for label in photos.classes if not counts[TRAIN][label]]
    if untrained:
        raise DataError(f"no training photo of {some(untrained)}; every label needs one")
    for split in (VALID, TEST):
        absent = [label for label in photos.classes if counts[split] and not counts[split][label]]
        if absent:
            log.warning("%s has no photo of %s", split, some(absent))
