"""Runs of the same settings but for their seed, and the spread of their results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pets.sweep.summary.runs import FINISHED, Run
from pets.sweep.summary.settings import SEED, Identity, identity, value


@dataclass(frozen=True)
class Spread:
    """Some results of the same kind; `deviation` is the standard deviation (n-1), None of one."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @cached_property
    def deviation(self) -> float | None:
        if len(self.values) < 2:
            return None
        squares = math.fsum((x - self.mean) ** 2 for x in self.values)
        return math.sqrt(squares / (len(self.values) - 1))


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one setting; `settings` are the values of the swept keys, without the seed."""

    settings: tuple[str, ...]
    runs: tuple[Run, ...]

    @cached_property
    def counted(self) -> tuple[Run, ...]:
        """Those that count: finished, with a validation error."""
        return tuple(run for run in self.runs if run.counts)

    @property
    def finished(self) -> int:
        return sum(run.state == FINISHED for run in self.runs)

    @cached_property
    def valid(self) -> Spread | None:
        """Validation errors of the last epoch's weights; None where no run has finished."""
        return _spread([run.valid.error for run in self.counted])

    @cached_property
    def test(self) -> Spread | None:
        return _spread([run.test.error for run in self.counted])

    @property
    def photos(self) -> int | None:
        """How many validation photos, where all runs had as many."""
        counts = {run.valid.photos for run in self.counted}
        return counts.pop() if len(counts) == 1 else None


def grouped(runs: Sequence[Run], swept: Sequence[str]) -> list[Group]:
    """The groups, the lowest mean validation error first, those without a result last.

    A run whose settings cannot be read is in none.
    """
    keys = [key for key in swept if key != SEED]
    found: dict[tuple[Identity, ...], list[Run]] = {}
    for run in runs:
        if run.given or run.config:
            found.setdefault(tuple(identity(value(run, key)) for key in keys), []).append(run)
    groups = [
        Group(tuple(value(members[0], key) for key in keys), tuple(members))
        for members in found.values()
    ]
    return sorted(groups, key=lambda group: group.valid.mean if group.valid else math.inf)


def _spread(values: Sequence[float | None]) -> Spread | None:
    numbers = tuple(value for value in values if value is not None)
    return Spread(numbers) if numbers else None
