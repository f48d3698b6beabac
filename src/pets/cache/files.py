"""The files of a cache's entries: written, on the disk, unchanged since."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

from pets.cache.memo import OnceAContent


class CannotWrite(Exception):
    """An entry's file cannot be written, and why; see `writing`."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """What a `make` does to its files belongs in here: an OSError is then the cache's. Any other
    OSError of a `make` is its own affair."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(error) from error


def megabytes(size: int) -> str:
    """Bytes for people: 3.1 MB, 240 MB, 1,250 MB."""
    number = size / 1e6
    return f"{number:,.0f} MB" if number >= 10 else f"{number:.1f} MB"


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def sums(files: list[Path]) -> list[str]:
    """Size and checksum of each file."""
    return _known_sums.of_all(files, "checking the cache")


def _sum(file: Path) -> str:
    with file.open("rb") as stream:
        return f"{file.stat().st_size} {file_digest(stream, 'blake2b').hexdigest()[:32]}"


_known_sums = OnceAContent("size and blake2b", _sum)


def to_disk(path: Path) -> None:
    """Return when a file or a folder is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
