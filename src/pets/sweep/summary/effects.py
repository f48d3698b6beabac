"""What each swept key does to the validation error: means per value, two keys as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pets.sweep.summary.groups import Group, Spread
from pets.sweep.summary.runs import Run
from pets.sweep.summary.settings import SEED, identity, in_order, value

_DECADE = 10.0
_COLUMNS, _ROWS = 12, 30  # of a matrix that can be read


@dataclass(frozen=True)
class Level:
    """All runs with one value of a key, whatever their other settings."""

    text: str
    number: float | None
    runs: int
    errors: Spread | None


@dataclass(frozen=True)
class Effect:
    """One swept key; its levels are in order."""

    key: str
    levels: tuple[Level, ...]

    @property
    def numeric(self) -> bool:
        return all(level.number is not None for level in self.levels)

    @property
    def logarithmic(self) -> bool:
        """Whether the values are numbers that span a decade or more."""
        numbers = [level.number for level in self.levels if level.number is not None]
        return self.numeric and min(numbers) > 0 and max(numbers) / min(numbers) >= _DECADE

    @property
    def balanced(self) -> bool:
        """Whether as many runs count for each level: else the means are of unlike settings."""
        return len({len(x.errors.values) if x.errors else 0 for x in self.levels}) == 1


def effects(runs: Sequence[Run], swept: Sequence[str]) -> list[Effect]:
    """One of every swept key, the seed among them: how much luck does."""
    known = [run for run in runs if run.given or run.config]
    return [Effect(key, tuple(_levels(known, key))) for key in swept]


def _levels(runs: Sequence[Run], key: str) -> list[Level]:
    levels = []
    for text in in_order([value(run, key) for run in runs]):
        same = identity(text)
        members = [run for run in runs if identity(value(run, key)) == same]
        errors = [run.valid.error for run in members if run.counts]
        numbers = tuple(error for error in errors if error is not None)
        number = same if isinstance(same, float) else None
        levels.append(Level(text, number, len(members), Spread(numbers) if numbers else None))
    return levels


@dataclass(frozen=True)
class Matrix:
    """The groups of two keys: a row a value of one, a column a value of the other."""

    keys: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Group | None, ...], ...]


def matrix(groups: Sequence[Group], swept: Sequence[str]) -> Matrix | None:
    """The matrix of a sweep over two keys, the one with fewer values across; None for any other
    sweep, and where it would be too large or mostly empty."""
    keys = [key for key in swept if key != SEED]
    if len(keys) != 2:
        return None
    values = [in_order([group.settings[i] for group in groups]) for i in (0, 1)]
    down, across = (0, 1) if len(values[0]) >= len(values[1]) else (1, 0)
    rows, columns = values[down], values[across]
    too_empty = 2 * len(groups) < len(rows) * len(columns)
    if too_empty or len(columns) > _COLUMNS or len(rows) > _ROWS:
        return None
    at = {
        (identity(group.settings[down]), identity(group.settings[across])): group
        for group in groups
    }
    cells = tuple(tuple(at.get((identity(r), identity(c))) for c in columns) for r in rows)
    return Matrix((keys[down], keys[across]), tuple(rows), tuple(columns), cells)
