"""Questions about files, asked again only where the file has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

Answer = TypeVar("Answer")


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
                bar = tqdm(answers, doing, len(new), unit="file", leave=False, disable=None)
                self.known.update(zip(new, bar, strict=True))
        return [self.known[key] for key in keys]


def _state(file: Path) -> tuple[str, tuple[int, ...]]:
    found = file.stat()
    times = found.st_mtime_ns, found.st_ctime_ns
    return str(file.absolute()), (found.st_ino, found.st_size, *times)
