"""What a file is, by its content alone; asked again only where the file has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

Answer = TypeVar("Answer")
_DIGEST = 16  # bytes
_FILE = "contents.bin"


class OnceAContent(Generic[Answer]):
    """A question about a file, whose answer is remembered until the file is written to: the jobs
    of a sweep in one process read their photos once.

    Nothing can write to a file without changing its ctime.
    """

    def __init__(self, ask: Callable[[Path], Answer]) -> None:
        self.ask = ask
        self.known: dict[tuple[str, tuple[int, ...]], Answer] = {}

    def of_all(self, files: Sequence[Path], doing: str) -> list[Answer]:
        """The answers; new ones by several threads, with a progress bar that says what is done."""
        keys = [_state(file) for file in files]
        new = {key: file for key, file in zip(keys, files, strict=True) if key not in self.known}
        if new:
            with ThreadPoolExecutor() as pool:
                answers = pool.map(self.ask, new.values())
                bar = tqdm(answers, doing, len(new), unit="photo", leave=False, disable=None)
                self.known.update(zip(new, bar, strict=True))
        return [self.known[key] for key in keys]


def _state(file: Path) -> tuple[str, tuple[int, ...]]:
    found = file.stat()
    times = found.st_mtime_ns, found.st_ctime_ns
    return str(file.absolute()), (found.st_ino, found.st_size, *times)


def digests(files: Sequence[Path]) -> list[bytes]:
    """A hash of each file's bytes. Raises OSError."""
    return _digest.of_all(files, "reading photos")


@OnceAContent
def _digest(file: Path) -> bytes:
    return blake2b(file.read_bytes(), digest_size=_DIGEST).digest()


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
