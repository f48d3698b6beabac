"""Memoized results about files, recomputed only if a file has changed.

They are kept in memory and, after `use_folder`, in a small database shared by all runs on a
machine, since runs usually read the same photos.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)

Result = TypeVar("Result", bound=str | bytes | None)
FileState = tuple[str, str]  # a file's path, and what changes when it is written to

NAME = "memo.sqlite"
_folder: Path | None = None

# A file written to twice within a tick of the file system's clock may look unchanged. Results
# computed so soon after the last change are not stored for other processes (git does the same).
_MIN_AGE = 2.0  # seconds
_CHUNK = 1000  # files


class FileMemo(Generic[Result]):
    """A function of a file's content, computed once for each content.

    A file counts as changed when its ctime, mtime, size or inode changes; nothing can write to a
    file without changing its ctime.

    Args:
        name: identifies the function and everything else that its result depends on.
        compute: the function; called by several threads.
        is_final: whether a result may be stored. A disk error, for example, may not.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[Path], Result],
        is_final: Callable[[Result], bool] = lambda result: True,
    ) -> None:
        self.name, self.compute, self.is_final = name, compute, is_final
        self.known: dict[FileState, Result] = {}

    def of_all(self, files: Sequence[Path], label: str) -> list[Result]:
        """Return the result for each file, in their order.

        Args:
            files: may contain duplicates.
            label: text of the progress bar, which is shown if results have to be computed.
        """
        states = [_state(file) for file in files]
        unknown = [state for state in states if state not in self.known]
        select = "SELECT result FROM memo WHERE name=? AND file=? AND state=?"
        rows = _query(lambda t: [t.execute(select, (self.name, *s)).fetchone() for s in unknown])
        self.known |= {s: row[0] for s, row in zip(unknown, rows, strict=False) if row is not None}
        new = {s: file for s, file in zip(states, files, strict=True) if s not in self.known}
        if new:
            bar = tqdm(desc=label, total=len(new), unit="file", leave=False, disable=None)
            with ThreadPoolExecutor() as pool, bar:
                left = list(new.items())
                while left:
                    # In chunks, so that little is lost if the process ends early.
                    self._compute_all(left[:_CHUNK], pool, bar)
                    left = left[_CHUNK:]
        return [self.known[state] for state in states]

    def _compute_all(
        self, chunk: list[tuple[FileState, Path]], pool: ThreadPoolExecutor, bar: tqdm
    ) -> None:
        newest = time.time() - _MIN_AGE
        rows = []
        results = pool.map(self.compute, [file for _, file in chunk])
        for (state, file), result in zip(chunk, results, strict=True):
            self.known[state] = result
            bar.update()
            if file.stat().st_ctime < newest and self.is_final(result):
                rows.append((self.name, *state, result))
        insert = "INSERT OR REPLACE INTO memo VALUES (?, ?, ?, ?)"
        _query(lambda table: list(table.executemany(insert, rows)))


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return f"{file.stat().st_size} {file_digest(stream, 'blake2b').hexdigest()[:32]}"


checksums = FileMemo("size and blake2b", _checksum)


def cache_folder(name: str | Path) -> Path:
    """Return the folder of a cache, with `~` expanded.

    `~` is expanded here and not in a run's config, which other users may resume. Users without a
    home folder get the one in PETS_CACHE (see `startup.redirect_unwritable_caches`).
    """
    folder = os.path.expanduser(name)  # noqa: PTH111 - pathlib's raises without a home
    return Path(os.environ.get("PETS_CACHE", folder) if folder.startswith("~") else folder)


def use_folder(folder: str | Path) -> None:
    """Load and save this process's results in this cache folder."""
    global _folder
    _folder = cache_folder(folder)


def clear(folder: str | Path) -> int:
    """Delete all stored results and return the freed bytes. Raises OSError."""
    file = cache_folder(folder) / NAME
    freed = file.stat().st_size if file.exists() else 0
    file.unlink(missing_ok=True)
    return freed


def _state(file: Path) -> FileState:
    now = file.stat()
    times = f"{now.st_mtime_ns} {now.st_ctime_ns}"
    return str(file.absolute()), f"{now.st_dev} {now.st_ino} {now.st_size} {times}"


def _query(query: Callable[[sqlite3.Connection], list[Any]]) -> list[Any]:
    """Run a query; [] without a folder, or if the database cannot be used."""
    if _folder is None:
        return []
    try:
        _folder.mkdir(parents=True, exist_ok=True)
        # Several processes may write at once; each waits for the others.
        with contextlib.closing(sqlite3.connect(_folder / NAME, timeout=30)) as table, table:
            table.execute(
                "CREATE TABLE IF NOT EXISTS memo "
                "(name TEXT, file TEXT, state TEXT, result, PRIMARY KEY (name, file))"
            )
            return query(table)
    except (sqlite3.Error, OSError) as error:
        log.info("%s: not used, photos are checked again (%s)", _folder / NAME, error)
        return []
