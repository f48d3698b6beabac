"""Questions about files, asked again only where the file has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from pets.cache import memo_store

Answer = TypeVar("Answer", bound=str | bytes | None)

# A file written to twice within a tick of the file system's clock may look unchanged. What was
# asked so soon after the last change is not kept for other processes (git does the same).
_SETTLED = 2.0  # seconds
_AT_ONCE = 1000  # files


class OnceAContent(Generic[Answer]):
    """A question about a file, whose answer is remembered until the file is written to: by this
    process, and by all that `memo_store.keep_in` the same folder.

    Nothing can write to a file without changing its ctime. `name` is the question's, with
    whatever else the answer depends on. An answer that is not `sure` is not kept for others.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[Path], Answer],
        sure: Callable[[Answer], bool] = lambda answer: True,
    ) -> None:
        self.name, self.ask, self.sure = name, ask, sure
        self.known: dict[memo_store.File, Answer] = {}

    def of_all(self, files: Sequence[Path], doing: str) -> list[Answer]:
        """The answers; new ones by several threads, with a progress bar that says what is done."""
        keys = [_state(file) for file in files]
        unknown = [key for key in keys if key not in self.known]
        self.known.update(memo_store.kept(self.name, unknown))
        new = {key: file for key, file in zip(keys, files, strict=True) if key not in self.known}
        if new:
            bar = tqdm(desc=doing, total=len(new), unit="file", leave=False, disable=None)
            with ThreadPoolExecutor() as pool, bar:
                left = list(new.items())
                while left:
                    # In parts, so that little is lost where the process ends before all is asked.
                    self._ask_all(left[:_AT_ONCE], pool, bar)
                    left = left[_AT_ONCE:]
        return [self.known[key] for key in keys]

    def _ask_all(
        self, part: list[tuple[memo_store.File, Path]], pool: ThreadPoolExecutor, bar: tqdm
    ) -> None:
        """Ask about these files; what may be kept of the answers is then kept."""
        settled = time.time() - _SETTLED
        for (key, _), answer in zip(part, pool.map(self.ask, [f for _, f in part]), strict=True):
            self.known[key] = answer
            bar.update()
        old = [key for key, file in part if file.stat().st_ctime < settled]
        memo_store.keep(self.name, {k: self.known[k] for k in old if self.sure(self.known[k])})


def _state(file: Path) -> memo_store.File:
    found = file.stat()
    times = f"{found.st_mtime_ns} {found.st_ctime_ns}"
    return str(file.absolute()), f"{found.st_dev} {found.st_ino} {found.st_size} {times}"
