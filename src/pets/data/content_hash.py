"""Hashes of photos' contents: they identify a photo whatever its name."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from pets.cache.memo import FileMemo

_DIGEST = 16  # bytes
_FILE = "contents.bin"


def content_hashes(files: Sequence[Path]) -> list[bytes]:
    """Return a hash of each file's bytes, computed again only if a file changed. Raises OSError."""
    return _hashes.of_all(files, "reading photos")


def _hash(file: Path) -> bytes:
    return blake2b(file.read_bytes(), digest_size=_DIGEST).digest()


_hashes = FileMemo(f"blake2b {_DIGEST}", _hash)


def hash_of_set(contents: Sequence[bytes]) -> str:
    """Return one hash for a set of content hashes, independent of order, names and copies."""
    return blake2b(b"".join(sorted(set(contents))), digest_size=_DIGEST).hexdigest()


def write_contents(folder: Path, contents: Sequence[bytes]) -> None:
    """Write the content hash of each row of a cache's entry."""
    (folder / _FILE).write_bytes(b"".join(contents))


def read_contents(folder: Path) -> dict[bytes, int]:
    """Return the row of each content hash in a cache's entry."""
    content = (folder / _FILE).read_bytes()
    starts = range(0, len(content), _DIGEST)
    return {content[at : at + _DIGEST]: row for row, at in enumerate(starts)}
