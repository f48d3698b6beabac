"""What a file is, by its content alone; asked again only where the file has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")
_DIGEST = 16  # bytes
_FILE = "contents.bin"


def once_a_content(ask: Callable[[Path], Answer]) -> Callable[[Path], Answer]:
    """`ask` about a file, remembered until the file is written to: the jobs of a sweep in one
    process read their photos once. Nothing can write to a file without changing its ctime."""

    @lru_cache(maxsize=1_000_000)
    def remembered(file: Path, *about: int) -> Answer:
        return ask(file)

    @wraps(ask)
    def asked(file: Path) -> Answer:
        found = file.stat()
        times = found.st_mtime_ns, found.st_ctime_ns
        return remembered(file.absolute(), found.st_ino, found.st_size, *times)

    return asked


def digests(files: Sequence[Path]) -> list[bytes]:
    """A hash of each file's bytes. Raises OSError."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_digest, files))


def digest_of_set(contents: Sequence[bytes]) -> str:
    """One hash for a set of contents, whatever their order and names."""
    return blake2b(b"".join(sorted(set(contents))), digest_size=_DIGEST).hexdigest()


def write_contents(folder: Path, contents: Sequence[bytes]) -> None:
    """Which content each row of a cache's entry is about."""
    (folder / _FILE).write_bytes(b"".join(contents))


def read_contents(folder: Path) -> dict[bytes, int]:
    """The row of each content."""
    names = (folder / _FILE).read_bytes()
    starts = range(0, len(names), _DIGEST)
    return {names[at : at + _DIGEST]: row for row, at in enumerate(starts)}


@once_a_content
def _digest(file: Path) -> bytes:
    return blake2b(file.read_bytes(), digest_size=_DIGEST).digest()
