"""Problems with photos, reported while they are collected: errors stop training."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from functools import partialmethod
from typing import Literal

from pets.errors import DataError, some

log = logging.getLogger(__name__)

Severity = Literal["error", "warning", "note"]


class Diagnostics:
    """Reports problems as training does: an error is raised as DataError, all else is logged.

    A problem concerns `paths`, or the data set as a whole (None). Excluded paths are removed first;
    if none is left, there is no problem. In a `message`, `<n>` stands for the number of those left
    and `<photos>` for the first few.

    Attributes:
        excluded: paths that `data.exclude` leaves out.
        excluded_hits: the excluded paths that had a problem.
        left_out: unreadable and unlabelled photos and those in no split, reported already.
    """

    def __init__(self, excluded: Set[str] = frozenset()) -> None:
        self.excluded = excluded
        self.excluded_hits: set[str] = set()
        self.left_out: set[str] = set()

    def emit(self, severity: Severity, kind: str, paths: Sequence[str], message: str) -> None:
        """Handle one problem, with the paths that are left. Subclasses collect instead."""
        if severity == "error":
            raise DataError(message)
        log.log(logging.WARNING if severity == "warning" else logging.INFO, message)

    def _report(
        self, severity: Severity, kind: str, paths: Sequence[str] | None, message: str
    ) -> None:
        left = [path for path in paths or () if path not in self.excluded]
        self.excluded_hits |= self.excluded & set(paths or ())
        if left or paths is None:
            line = message.replace("<n>", f"{len(left):,}").replace("<photos>", some(left))
            self.emit(severity, kind, left, line)

    error = partialmethod(_report, "error")  # what prevents training
    warning = partialmethod(_report, "warning")  # what is probably not intended
    note = partialmethod(_report, "note")  # what is good to know
