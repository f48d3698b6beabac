"""What is found wrong while photos are collected: a training stops there, `pets verify` goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Set
from typing import Literal

from pets.errors import DataError

log = logging.getLogger(__name__)

Severity = Literal["error", "warning", "note"]
Line = str | Callable[[list[str]], str]


class Remarks:
    """What a training makes of it: an error stops it, all else is said in the log.

    A remark is about `paths`, or about the whole (None); `line` is the sentence, or makes one of
    those paths that are left without the `excluded` ones. Where none is left, nothing is wrong.
    """

    def __init__(self, excluded: Set[str] = frozenset()) -> None:
        self.excluded = excluded
        self.met: set[str] = set()  # the excluded ones that something was wrong with
        self.left_out: set[str] = set()  # unreadable, unlabelled or in no split, and told

    def error(self, kind: str, paths: Sequence[str] | None, line: Line) -> None:
        """What keeps a training from beginning. Raises DataError."""
        self._about("error", kind, paths, line)

    def warning(self, kind: str, paths: Sequence[str] | None, line: Line) -> None:
        """What is probably not meant."""
        self._about("warning", kind, paths, line)

    def note(self, kind: str, paths: Sequence[str] | None, line: Line) -> None:
        """What is good to know."""
        self._about("note", kind, paths, line)

    def aside(self, kind: str, paths: Sequence[str] | None, line: Line) -> None:
        """What only a check of the photos tells: nothing here."""

    def heard(self, severity: Severity, kind: str, paths: Sequence[str], line: str) -> None:
        """One remark, with the paths that are left."""
        if severity == "error":
            raise DataError(line)
        log.log(logging.WARNING if severity == "warning" else logging.INFO, line)

    def _about(
        self, severity: Severity, kind: str, paths: Sequence[str] | None, line: Line
    ) -> None:
        left = [path for path in paths or () if path not in self.excluded]
        self.met |= self.excluded & set(paths or ())
        if left or paths is None:
            self.heard(severity, kind, left, line if isinstance(line, str) else line(left))
