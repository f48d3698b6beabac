"""The photos of a run: one table of path, label, split and content."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path, PureWindowsPath

from pets.data.content_hash import content_hashes
from pets.data.images import SUFFIXES
from pets.data.splits import TEST, TRAIN, VALID
from pets.errors import DataError, some
from pets.io.atomic import regular
from pets.io.csv_cells import read_cell, write_cell

SPLITS = (TRAIN, VALID, TEST)
OTHER = "other"  # split of external photos
COLUMNS = ("path", "label", "split", "content")


@dataclass(frozen=True)
class Photo:
    """One row of the table of photos."""

    path: str  # relative to the root, with forward slashes
    label: str
    split: str  # train, valid, test or other
    content: str = field(default="", compare=False)  # hash of the file when the table was written


@dataclass(frozen=True)
class Photos:
    """All photos of a run.

    `classes` are the sorted labels, or those `known` to a model; a class's index is its position.
    """

    root: Path
    rows: tuple[Photo, ...]
    known: tuple[str, ...] = ()

    @cached_property
    def classes(self) -> list[str]:
        return list(self.known) or sorted({photo.label for photo in self.rows})

    def of(self, *splits: str) -> list[Photo]:
        """Return the photos of one or more splits, in the table's order."""
        return [photo for photo in self.rows if photo.split in splits]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every photo's path, label, split and content: identifies the data."""
        whole = blake2b(digest_size=16)
        for photo, content in zip(self.rows, self.contents(self.rows), strict=True):
            whole.update(f"{photo.path}\0{photo.label}\0{photo.split}\0".encode() + content)
        return whole.hexdigest()

    def contents(self, rows: Sequence[Photo]) -> list[bytes]:
        """Return a content hash of each photo, as it was when this was first called."""
        return [self._contents[photo.path] for photo in rows]

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        return _contents_of(self.root, [photo.path for photo in self.rows])

    def save(self, file: Path) -> None:
        """Write the table as CSV. Raises DataError if a photo is not below the root."""
        _refuse_outside(f"{self.root}", self.rows)
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for photo, content in zip(self.rows, self.contents(self.rows), strict=True):
                cells = photo.path, photo.label, photo.split, content.hex()
                writer.writerow(map(write_cell, cells))

    @classmethod
    def load(cls, file: Path, root: Path) -> Photos:
        """Read a table that `save` wrote; photos may have changed since. Raises DataError."""
        try:
            with regular(file).open(newline="", encoding="utf-8") as stream:
                rows = tuple(
                    Photo(**{name: read_cell(row.get(name) or "") for name in COLUMNS})
                    for row in csv.DictReader(stream)
                )
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"{file}: cannot be read as the run's table of photos ({reason})"
            ) from error
        whole = [row.path and row.label and row.content and row.split in SPLITS for row in rows]
        if not rows or not all(whole):
            what = "a row without path, label, split or content" if rows else "it names no photo"
            raise DataError(f"{file}: damaged, {what}")
        _refuse_outside(f"{file}", rows)
        return cls(root, rows)

    @cached_property
    def missing(self) -> list[str]:
        """Paths of photos that no longer exist."""
        return [photo.path for photo in self.rows if not (self.root / photo.path).is_file()]


@dataclass(frozen=True)
class LocatedPhotos:
    """The photos of a run's table, located below a folder by their contents."""

    table: Photos  # as saved
    photos: Photos  # existing ones, with their current paths
    missing: list[Photo]  # rows without a file
    changed: list[Photo]  # rows whose file has changed
    renamed: int  # how many of `photos` have a new path

    def lost(self, *splits: str) -> str:
        """Describe the missing and changed photos of these splits; "" if there are none."""
        parts = []
        for what, photos in (("missing", self.missing), ("changed", self.changed)):
            if paths := [photo.path for photo in photos if photo.split in splits]:
                parts.append(f"{len(paths):,} {what} ({some(paths)})")
        of = f"{len(self.table.of(*splits)):,} {splits[0] + ' ' if len(splits) == 1 else ''}photos"
        return f"of the run's {of} {' and '.join(parts)}" if parts else ""


def locate_photos(table: Photos) -> LocatedPhotos:
    """Locate the photos of a run below the table's root by their contents.

    Renamed photos are located; a different photo with the same name is not matched.
    """
    root, rows = table.root, table.rows
    gone = set(table.missing)
    there = [photo.path for photo in rows if photo.path not in gone]
    now = {path: content.hex() for path, content in _contents_of(root, there).items()}
    same = {photo.path for photo in rows if now.get(photo.path) == photo.content}
    elsewhere: dict[str, str] = {}
    if len(same) < len(rows):
        files = (file for file in sorted(root.rglob("*")) if file.suffix.lower() in SUFFIXES)
        others = [file.relative_to(root).as_posix() for file in files if file.is_file()]
        unknown = [path for path in others if path not in same]
        elsewhere = {content.hex(): path for path, content in _contents_of(root, unknown).items()}
    located: list[Photo] = []
    missing: list[Photo] = []
    changed: list[Photo] = []
    for photo in rows:
        if photo.path in same:
            located.append(photo)
        elif photo.content in elsewhere:
            located.append(replace(photo, path=elsewhere[photo.content]))
        else:
            (changed if photo.path in now else missing).append(photo)
    photos = Photos(root, tuple(located), tuple(table.classes))
    return LocatedPhotos(table, photos, missing, changed, len(located) - len(same))


def _contents_of(root: Path, paths: Sequence[str]) -> dict[str, bytes]:
    return dict(zip(paths, content_hashes([root / path for path in paths]), strict=True))


def _refuse_outside(whose: str, photos: Iterable[Photo]) -> None:
    """Raise DataError if a table, which may be untrusted, names files outside the root."""
    if outside := [photo.path for photo in photos if _leads_out(photo.path)]:
        raise DataError(
            f"{whose}: names {len(outside):,} files that are not below the photos' root "
            f"({some(outside)}); expected paths relative to it, without .."
        )


def _leads_out(path: str) -> bool:
    """Whether a path may lead out of the folder that it is relative to, here or on Windows."""
    there = PureWindowsPath(path)
    absolute = path.startswith(("/", "\\\\")) or bool(there.drive and there.root)
    return absolute or ".." in there.parts or "\0" in path
