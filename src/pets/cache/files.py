"""The files of a cache's entries: sizes, checksums, and when they are on the disk."""

from __future__ import annotations

import os
from hashlib import file_digest
from pathlib import Path

from pets.cache.memo import FileMemo


def megabytes(size: int) -> str:
    """Format bytes for people: 3.1 MB, 240 MB, 1,250 MB."""
    number = size / 1e6
    return f"{number:,.0f} MB" if number >= 10 else f"{number:.1f} MB"


def existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def checksums(files: list[Path]) -> dict[str, str]:
    """Return size and checksum of each file, by its name."""
    names = [file.name for file in files]
    return dict(zip(names, _memo.of_all(files, "checking the cache"), strict=True))


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return f"{file.stat().st_size} {file_digest(stream, 'blake2b').hexdigest()[:32]}"


_memo = FileMemo("size and blake2b", _checksum)


def to_disk(path: Path) -> None:
    """Return when a file or a folder is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
