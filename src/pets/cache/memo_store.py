"""What is known about files, kept on disk: every run of a machine reads the same photos."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)

Found = TypeVar("Found")
File = tuple[str, str]  # its path, and what changes when it is written to

NAME = "answers.sqlite"
_folder: Path | None = None


def cache_folder(named: str | Path) -> Path:
    """Where a cache lies. `~` is settled here and not in a run's config, which other users may go
    on with; for one without a home folder it is what PETS_CACHE says (`startup.folders`)."""
    folder = os.path.expanduser(named)  # noqa: PTH111 - which raises nothing without a home
    return Path(os.environ.get("PETS_CACHE", folder) if folder.startswith("~") else folder)


def keep_in(folder: str | Path) -> None:
    """Where this process keeps answers for others, and finds theirs."""
    global _folder
    _folder = cache_folder(folder)


def kept(question: str, files: Sequence[File]) -> dict[File, Any]:
    """The answers that are there."""
    select = "SELECT answer FROM answers WHERE question=? AND file=? AND state=?"

    def found(table: sqlite3.Connection) -> dict[File, Any]:
        rows = {file: table.execute(select, (question, *file)).fetchone() for file in files}
        return {file: row[0] for file, row in rows.items() if row is not None}

    return _ask(found) or {}


def keep(question: str, answers: Mapping[File, Any]) -> None:
    """Answers, in the place of those about the files as they were before."""
    rows = [(question, *file, answer) for file, answer in answers.items()]

    def add(table: sqlite3.Connection) -> None:
        with table:
            table.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)

    if rows:
        _ask(add)


def forget(folder: str | Path) -> int:
    """Remove all; returns the freed bytes. Raises OSError."""
    file = cache_folder(folder) / NAME
    freed = file.stat().st_size if file.exists() else 0
    file.unlink(missing_ok=True)
    return freed


def _ask(query: Callable[[sqlite3.Connection], Found]) -> Found | None:
    """The table's answer; none where no folder was named or the table cannot be used."""
    if _folder is None:
        return None
    try:
        _folder.mkdir(parents=True, exist_ok=True)
        # Several processes write at once; each waits for the others.
        with contextlib.closing(sqlite3.connect(_folder / NAME, timeout=30)) as table:
            table.execute(
                "CREATE TABLE IF NOT EXISTS answers "
                "(question TEXT, file TEXT, state TEXT, answer, PRIMARY KEY (question, file))"
            )
            return query(table)
    except (sqlite3.Error, OSError) as error:
        log.info("%s: not used, photos are checked again (%s)", _folder / NAME, error)
        return None
