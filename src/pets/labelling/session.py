"""What was decided, what is shown next, and the table of it all."""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pets.data.photos import Photo
from pets.data.splits import TRAIN
from pets.io.atomic import write_atomically
from pets.io.csv_cells import write_cell
from pets.labelling.items import NEW
from pets.labelling.journal import Action, Entry, Journal, Measured
from pets.labelling.learn import Fit, Known
from pets.labelling.pool import Pool
from pets.labelling.queue import Floats, Rows

COLUMNS = ("path", "split", "given", "label", "proposed")
_HANDED_OUT = 60.0  # seconds for which what one tab has comes last in others


class Conflict(Exception):
    """A decision that cannot be made, in one line."""


@dataclass(frozen=True)
class Written:
    """A decision, and one of another tab about the same photo that the deciding tab had not seen;
    None if there is none."""

    entry: Entry
    unseen: Entry | None = None


class Session:
    """The photos of a pool with all decisions about them. Not safe for several threads.

    Attributes:
        pool: The photos.
        journal: The decisions.
        table: Where `save` writes them.
        fit: The newest head, if there is one yet.
        suspects: The newest photos with probably wrong labels.
        odds: The probabilities (N, classes) that they were found by, if there are some yet.
        problem: Why the table could not be written, in one line; "" if it was.
        labels: The class of each photo (N,); -1 for none.
        decided: Which photos have a label by a person, or are left out (N,).
        excluded: Which are left out (N,).
        skipped: By which entry a photo was skipped (N,); 0 if it was not.
        versions: The last entry about each photo (N,); 0 if there is none.
    """

    def __init__(self, pool: Pool, journal: Journal, table: Path) -> None:
        self.pool, self.journal, self.table = pool, journal, table
        self.fit: Fit | None = None
        self.suspects: Rows = np.empty(0, np.int64)
        self.odds: Floats | None = None
        self.problem = ""
        self.rows = {item.content: row for row, item in enumerate(pool.items)}
        self._classes = {name: index for index, name in enumerate(pool.classes)}
        self._first = pool.labels()
        self.labels, self.decided = self._first.copy(), np.zeros(len(pool.items), bool)
        self.excluded = self.decided.copy()
        self.skipped, self.versions = np.zeros((2, len(pool.items)), np.int64)
        self._standing: dict[str, list[Entry]] = defaultdict(list)  # by photo; not taken back
        self._keys: dict[str, Written] = {}
        self._handed: dict[str, tuple[float, list[int]]] = {}
        self._lines: dict[str, str] = {}  # of the table, by path
        for entry in journal.entries:
            self._apply(entry)

    @property
    def absent(self) -> int:
        """How many photos were decided about that are not here now."""
        return sum(bool(self._standing[photo]) for photo in self._standing.keys() - self.rows)

    @property
    def known(self) -> Known:
        """A copy of what is known now."""
        state = (self.labels.copy(), self.decided.copy(), self.excluded.copy())
        return Known(*state, int(self.decided.sum()))

    def decision(self, row: int) -> Entry | None:
        """Return the label or exclusion of a photo by a person; None if it has none."""
        standing = self._standing.get(self.pool.items[row].content, [])
        return next((e for e in reversed(standing) if e.action != "skip"), None)

    def _apply(self, entry: Entry) -> None:
        standing = self._standing[entry.photo]
        self._keys.setdefault(entry.key, Written(entry))  # sent again to a server that was killed
        if entry.action == "undo":
            standing[:] = [other for other in standing if other.number != entry.undoes]
        else:
            standing.append(entry)
        row = self.rows.get(entry.photo)
        if row is None:
            return
        decision = self.decision(row)
        self.decided[row] = decision is not None
        self.excluded[row] = decision is not None and decision.action == "exclude"
        labelled = decision is not None and decision.action == "label"
        self.labels[row] = self._classes[decision.label] if labelled else self._first[row]  # type: ignore[union-attr]
        skipped = bool(standing) and standing[-1].action == "skip"
        self.skipped[row] = standing[-1].number if skipped else 0
        self.versions[row] = entry.number
        for copy in self.pool.items[row].copies:
            self._lines.pop(copy.path, None)
            if decision is not None:
                self._lines[copy.path] = _line_of(copy, decision)

    def decide(
        self, row: int, action: Action, label: str, tab: str, key: str, version: int
    ) -> Written:
        """Write a decision; of several about a photo the last one counts.

        Args:
            row: The photo.
            action: label, exclude or skip.
            label: The class, with `label`; else "".
            tab: Which tab decides.
            key: Of the decision: one that is sent again is not written again.
            version: Of the photo, as the tab saw it.

        Raises:
            Conflict: There is no such class.
            OSError: It cannot be written; then nothing has changed.
        """
        if (action == "label") != (label in self._classes):
            raise Conflict(
                f"label={label[:80]}: expected a class of the run with action=label, and none with "
                "another action"
            )
        if key in self._keys:
            return self._keys[key]
        unseen = self.decision(row)
        if unseen is not None and (unseen.tab == tab or unseen.number <= version):
            unseen = None
        item = self.pool.items[row]
        entry = self.journal.append(item.content, item.copies[0].path, action, label, tab, key)
        self._apply(entry)
        self._keys[key] = Written(entry, unseen)
        return self._keys[key]

    def undo(self, tab: str, key: str) -> Written:
        """Take back the last decision of a tab, and return the entry that does so.

        Raises:
            Conflict: There is none, or another tab has decided about the photo since.
            OSError: It cannot be written; then nothing has changed.
        """
        if key in self._keys:
            return self._keys[key]
        # Of photos that lie here: the same table may be of several folders, one after another.
        here = [item.content for item in self.pool.items if item.copies]
        mine = [e for photo in here for e in self._standing.get(photo, ()) if e.tab == tab]
        if not mine:
            raise Conflict("there is nothing to undo in this tab")
        last = max(mine, key=lambda entry: entry.number)
        if self._standing[last.photo][-1] is not last:
            raise Conflict(f"{last.path}: another tab has decided about it since; not undone")
        entry = self.journal.append(
            last.photo, last.path, "undo", tab=tab, key=key, undoes=last.number
        )
        self._apply(entry)
        self._keys[key] = Written(entry)
        return self._keys[key]

    def order(self, name: str) -> Rows:
        """Return the undecided photos of an order; those that were skipped come last."""
        if self.fit is None:
            return np.empty(0, np.int64)
        rows = self.fit.orders[name]
        rows = rows[~self.decided[rows]]
        return rows[np.argsort(self.skipped[rows], kind="stable")]

    def next(self, name: str, tab: str, count: int, without: Collection[int] = ()) -> list[int]:
        """Return the next photos of an order for a tab, which has others (`without`) already. What
        another tab has comes last."""
        now = time.monotonic()
        handed = (
            rows
            for other, (since, rows) in self._handed.items()
            if other != tab and now - since < _HANDED_OUT
        )
        others = {row for rows in handed for row in rows}
        rows = [row for row in self.order(name).tolist() if row not in without]
        rows.sort(key=lambda row: row in others)
        self._handed[tab] = (now, [*without, *rows[:count]])
        return rows[:count]

    def probabilities(self, row: int) -> Floats | None:
        """Return the probabilities of a photo's classes: if it has a label, by heads that did not
        learn it, as soon as there are some; None before the first head."""
        if self.fit is None or self.odds is None or self.labels[row] < 0:
            return None if self.fit is None else self.fit.probabilities[row]
        by_others: Floats = self.odds[row]
        return by_others

    def alike(self, row: int) -> list[int]:
        """Return the photos that look like this one."""
        groups = [group for group in self.pool.groups if row in group]
        return [other for group in groups for other in group if other != row]

    def publish(self, fit: Fit) -> None:
        """Take over a new head, and write its error, if there are photos to measure it on. Raises
        OSError."""
        self.fit = fit
        measured = Measured(fit.count, fit.wrong, fit.photos)
        if fit.photos and self.journal.measured[-1:] != [measured]:
            self.journal.measure(measured)

    def lines(self) -> dict[str, str]:
        """Return a copy of the lines of the table as it is now, by path."""
        return self._lines.copy()

    def save(self, lines: Mapping[str, str]) -> None:
        """Write the table, whole or not at all; this may be in another thread. Raises OSError."""
        text = "".join([_csv(COLUMNS), *(lines[path] for path in sorted(lines))])
        write_atomically(self.table, text.encode())


def _line_of(copy: Photo, decision: Entry) -> str:
    """The line of the table for a file whose photo was decided about."""
    excluded = decision.action == "exclude"
    split = TRAIN if copy.split == NEW else copy.split
    label, proposed = (copy.label, "exclude") if excluded else (decision.label, "keep")
    return _csv([copy.path, split, copy.label, label, proposed])


def _csv(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(write_cell, cells))
    return text.getvalue()
