"""Results about files, computed again only when a file has changed.

They are kept in memory and, after `use_folder`, in a small database that all runs of a machine
share: every run reads the same photos.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)

Result = TypeVar("Result", bound=str | bytes | None)
Rows = TypeVar("Rows")
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
        is_final: whether a result may be stored. An error of a disk, for example, may not.
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
            files: may name a file twice.
            label: of the progress bar, which appears if results have to be computed.
        """
        states = [_state(file) for file in files]
        self.known.update(_load(self.name, [s for s in states if s not in self.known]))
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
        results = pool.map(self.compute, [file for _, file in chunk])
        for (state, _), result in zip(chunk, results, strict=True):
            self.known[state] = result
            bar.update()
        old = [state for state, file in chunk if file.stat().st_ctime < newest]
        _save(self.name, {s: self.known[s] for s in old if self.is_final(self.known[s])})


def cache_folder(name: str | Path) -> Path:
    """Return the folder of a cache, with `~` expanded.

    `~` is expanded here and not in a run's config, which other users may continue. Users without a
    home folder get the one in the variable PETS_CACHE (see `startup.folders`).
    """
    folder = os.path.expanduser(name)  # noqa: PTH111 - which raises nothing without a home
    return Path(os.environ.get("PETS_CACHE", folder) if folder.startswith("~") else folder)


def use_folder(folder: str | Path) -> None:
    """Load and save this process's results in a cache's folder."""
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


def _load(name: str, files: Sequence[FileState]) -> dict[FileState, Any]:
    """The stored results of a function, for those of the files that have one."""
    select = "SELECT result FROM memo WHERE name=? AND file=? AND state=?"

    def read(table: sqlite3.Connection) -> dict[FileState, Any]:
        rows = {file: table.execute(select, (name, *file)).fetchone() for file in files}
        return {file: row[0] for file, row in rows.items() if row is not None}

    return _query(read) or {}


def _save(name: str, results: Mapping[FileState, Any]) -> None:
    """Store results; they replace those for earlier states of the same files."""
    rows = [(name, *file, result) for file, result in results.items()]

    def write(table: sqlite3.Connection) -> None:
        with table:
            table.executemany("INSERT OR REPLACE INTO memo VALUES (?, ?, ?, ?)", rows)

    if rows:
        _query(write)


def _query(query: Callable[[sqlite3.Connection], Rows]) -> Rows | None:
    """Run a query; None without a folder, or if the database cannot be used."""
    if _folder is None:
        return None
    try:
        _folder.mkdir(parents=True, exist_ok=True)
        # Several processes may write at once; each waits for the others.
        with contextlib.closing(sqlite3.connect(_folder / NAME, timeout=30)) as table:
            table.execute(
                "CREATE TABLE IF NOT EXISTS memo "
                "(name TEXT, file TEXT, state TEXT, result, PRIMARY KEY (name, file))"
            )
            return query(table)
    except (sqlite3.Error, OSError) as error:
        log.info("%s: not used, photos are checked again (%s)", _folder / NAME, error)
        return None
