"""What photos are, by their contents alone."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from pets.cache.files import writing
from pets.cache.memo import OnceAContent

_DIGEST = 16  # bytes
_FILE = "contents.bin"


def digests(files: Sequence[Path]) -> list[bytes]:
    """A hash of each file's bytes. Raises OSError."""
    return _digests.of_all(files, "reading photos")


def _digest(file: Path) -> bytes:
    return blake2b(file.read_bytes(), digest_size=_DIGEST).digest()


_digests = OnceAContent(f"blake2b {_DIGEST}", _digest)


def digest_of_set(contents: Sequence[bytes]) -> str:
    """One hash for a set of contents, whatever their order and names."""
    return blake2b(b"".join(sorted(set(contents))), digest_size=_DIGEST).hexdigest()


def write_contents(folder: Path, contents: Sequence[bytes]) -> None:
    """Which content each row of a cache's entry is about."""
    with writing():
        (folder / _FILE).write_bytes(b"".join(contents))


def read_contents(folder: Path) -> dict[bytes, int]:
    """The row of each content."""
    names = (folder / _FILE).read_bytes()
    starts = range(0, len(names), _DIGEST)
    return {names[at : at + _DIGEST]: row for row, at in enumerate(starts)}
