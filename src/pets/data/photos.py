"""The photos of a run: one table of path, label and split."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from pets.data.contents import digests
from pets.data.splits import TEST, TRAIN, VALID
from pets.errors import DataError, some

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
