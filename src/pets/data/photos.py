"""The photos of a run: one table of path, label, split and content."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path, PurePath, PureWindowsPath

from pets.data.content_hash import digests
from pets.data.diagnostics import Remarks, Severity
from pets.data.discovery import find_photos
from pets.data.splits import TEST, TRAIN, VALID
from pets.errors import DataError, some
from pets.io.csv_cells import read_cell, write_cell

SPLITS = (TRAIN, VALID, TEST)
OTHER = "other"  # of photos that are not the run's
COLUMNS = ("path", "label", "split", "content")


@dataclass(frozen=True)
class Photo:
    """One row of the table; the path is relative to the root, with forward slashes; `content` is a
    hash of its bytes when the table was written, empty where that is not known."""

    path: str
    label: str
    split: str
    content: str = field(default="", compare=False)


@dataclass(frozen=True)
class Photos:
    """Every photo of a run. `classes` are the sorted labels, or those `known` to a model; a class's
    index is its place there."""

    root: Path
    rows: tuple[Photo, ...]
    known: tuple[str, ...] = ()

    @cached_property
    def classes(self) -> list[str]:
        return list(self.known) or sorted({photo.label for photo in self.rows})

    def of(self, *splits: str) -> list[Photo]:
        """The photos of one or more splits, in the table's order."""
        return [photo for photo in self.rows if photo.split in splits]

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
        return _contents_of(self.root, [photo.path for photo in self.rows])

    def save(self, file: Path) -> None:
        """Write the table as CSV. Raises DataError where a photo is not below the root."""
        _refuse_outside(f"{self.root}", self.rows)
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for photo, content in zip(self.rows, self.contents(self.rows), strict=True):
                cells = photo.path, photo.label, photo.split, content.hex()
                writer.writerow(map(write_cell, cells))

    @classmethod
    def load(cls, file: Path, root: Path) -> Photos:
        """Read a table that `save` wrote, whatever the photos are now. Raises DataError."""
        try:
            with file.open(newline="", encoding="utf-8") as stream:
                rows = tuple(
                    Photo(**{name: read_cell(row.get(name) or "") for name in COLUMNS})
                    for row in csv.DictReader(stream)
                )
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file}: cannot be read as the run's table of photos") from error
        if not rows or not all(row.path and row.label and row.split in SPLITS for row in rows):
            what = "a row without path, label or split" if rows else "it names no photo"
            raise DataError(f"{file}: damaged, {what}")
        _refuse_outside(f"{file}", rows)
        return cls(root, rows)

    @cached_property
    def missing(self) -> list[str]:
        """Photos that are not there."""
        return [photo.path for photo in self.rows if not (self.root / photo.path).is_file()]


@dataclass(frozen=True)
class Found:
    """The photos of a run's `table`, looked for below a folder by their contents.

    `photos` are those that are there, under the names that they have there, `renamed` ones with
    others than in the table; of the others some are `missing`, and some `changed`: a file has their
    name, but not their bytes.
    """

    table: Photos
    photos: Photos
    missing: tuple[Photo, ...]
    changed: tuple[Photo, ...]
    renamed: int

    def lost(self, *splits: str) -> str:
        """What is not there of these splits, in words; empty where all is."""
        missing = [photo.path for photo in self.missing if photo.split in splits]
        changed = [photo.path for photo in self.changed if photo.split in splits]
        parts = [
            f"{len(paths):,} {what} ({some(paths)})"
            for paths, what in ((missing, "missing"), (changed, "changed"))
            if paths
        ]
        of = f"{len(self.table.of(*splits)):,} {splits[0] + ' ' if len(splits) == 1 else ''}photos"
        return f"of the run's {of} {' and '.join(parts)}" if parts else ""


def find_again(table: Photos, fingerprint: object) -> Found:
    """Look for the photos of a run below the table's root, by what is in them: a photo that was
    renamed is found, another one of the same name is not taken for it.

    Tables of older runs do not have the contents: for these all must be as the `fingerprint` says.
    """
    root, rows = table.root, table.rows
    named = set(table.missing)
    now = _contents_of(root, [photo.path for photo in rows if photo.path not in named])
    if any(photo.content for photo in rows):
        same = {p.path for p in rows if p.path in now and p.content == now[p.path].hex()}
    else:
        whole = len(now) == len({photo.path for photo in rows}) and table.fingerprint == fingerprint
        same = set(now) if whole else set()
    elsewhere: dict[str, str] = {}
    if len(same) < len(rows):
        others = [path for path in _photos_below(root) if path not in same]
        elsewhere = {c.hex(): path for path, c in _contents_of(root, others).items()}
    found: list[Photo] = []
    missing: list[Photo] = []
    changed: list[Photo] = []
    for photo in rows:
        if photo.path in same:
            found.append(photo)
        elif photo.content in elsewhere:
            path = elsewhere[photo.content]
            found.append(Photo(path, photo.label, photo.split, photo.content))
        else:
            (changed if photo.path in now else missing).append(photo)
    photos = Photos(root, tuple(found), tuple(table.classes))
    return Found(table, photos, tuple(missing), tuple(changed), len(found) - len(same))


def _contents_of(root: Path, paths: Sequence[str]) -> dict[str, bytes]:
    return dict(zip(paths, digests([root / path for path in paths]), strict=True))


class _Silent(Remarks):
    """Of photos that are looked for nothing is told but whether they are there."""

    def heard(self, severity: Severity, kind: str, paths: Sequence[str], line: str) -> None:
        pass


def _photos_below(root: Path) -> list[str]:
    try:
        return find_photos(root, ".", _Silent())
    except DataError:  # there is none
        return []


def _refuse_outside(whose: str, photos: Iterable[Photo]) -> None:
    """A table from a stranger may not name other files of this machine. Raises DataError."""
    outside = [photo.path for photo in photos if _leads_out(photo.path)]
    if outside:
        raise DataError(
            f"{whose}: names {len(outside):,} files that are not below the photos' root "
            f"({some(outside)}); expected paths relative to it, without .."
        )


def _leads_out(path: str) -> bool:
    """Whether a path may lead out of the folder that it is relative to, here or on Windows."""
    here, there = PurePath(path), PureWindowsPath(path)
    # Elsewhere than on Windows a name may begin with one backslash.
    absolute = bool(here.root or here.drive) or path.startswith("\\\\")
    absolute = absolute or bool(there.drive and there.root)
    return absolute or ".." in there.parts or "\0" in path
