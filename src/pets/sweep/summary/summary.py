"""A sweep's folder, read and evaluated: its settings, the effect of each key, and the best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pets.sweep.summary.runs import FINISHED, RUNNING, STATES, WAITING, Run, read_runs
from pets.sweep.summary.statistics import Difference, Sample, Setting, difference
from pets.sweep.summary.values import SEED, Value, parse_value, short_names, shorten, sort_values

_DECADE = 10.0
_MOST_COLUMNS, _MOST_ROWS = 12, 30  # of a grid that can be read
_MANY_PHOTOS = 1000


@dataclass(frozen=True)
class Level:
    """All runs with one value of a key, whatever their other values."""

    text: str
    runs: int
    errors: Sample | None

    @property
    def counted(self) -> int:
        """The number of finished runs with a validation error."""
        return len(self.errors.values) if self.errors else 0

    @property
    def number(self) -> float | None:
        value = parse_value(self.text)
        return value if isinstance(value, float) else None


@dataclass(frozen=True)
class Effect:
    """The errors by the value of one swept key, the values in order."""

    key: str
    levels: tuple[Level, ...]

    @property
    def numeric(self) -> bool:
        return all(level.number is not None for level in self.levels)

    @property
    def logarithmic(self) -> bool:
        """Whether the values are numbers over a decade or more."""
        numbers = [level.number for level in self.levels if level.number is not None]
        return self.numeric and min(numbers) > 0 and max(numbers) / min(numbers) >= _DECADE

    @property
    def balanced(self) -> bool:
        """Whether as many runs count for each value; else the means are of unlike settings."""
        return len({level.counted for level in self.levels}) == 1


@dataclass(frozen=True)
class Grid:
    """The settings of two keys: a row a value of the first, a column a value of the second."""

    keys: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Setting | None, ...], ...]


@dataclass(frozen=True)
class Summary:
    """The runs of a folder at one moment, and what is computed from them.

    `swept` are the keys that differ between runs, the seed last; `settings` has the lowest mean
    validation error first, those without a result last.
    """

    folder: Path
    runs: tuple[Run, ...]
    swept: tuple[str, ...]
    settings: tuple[Setting, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The swept keys without the seed."""
        return tuple(key for key in self.swept if key != SEED)

    @cached_property
    def names(self) -> dict[str, str]:
        """A short name for each swept key."""
        return short_names(self.swept)

    @cached_property
    def common(self) -> dict[str, str]:
        """The overrides of all runs."""
        overrides = {key: text for run in self.runs for key, text in run.overrides.items()}
        return {key: text for key, text in overrides.items() if key not in self.swept}

    @cached_property
    def states(self) -> dict[str, int]:
        """The number of runs in each state."""
        counts = Counter(run.state for run in self.runs)
        return {state: counts[state] for state in (*STATES, *counts) if counts[state]}

    @property
    def finished(self) -> int:
        return self.states.get(FINISHED, 0)

    @cached_property
    def ranked(self) -> tuple[Setting, ...]:
        """The settings with a result."""
        return tuple(setting for setting in self.settings if setting.valid)

    @property
    def best(self) -> Setting | None:
        """The setting with the lowest mean validation error."""
        return self.ranked[0] if self.ranked else None

    @cached_property
    def differences(self) -> dict[Setting, Difference | None]:
        """Each other setting with a result against the best one."""
        return {setting: difference(self.ranked[0], setting) for setting in self.ranked[1:]}

    def near_best(self, setting: Setting) -> bool:
        """Whether it is the best setting, or within noise of it."""
        against_best = self.differences.get(setting)
        return setting is self.best or (against_best is not None and against_best.within_noise)

    @cached_property
    def effects(self) -> list[Effect]:
        """One of each swept key, also the seed: how much chance does."""
        runs = [run for run in self.runs if run.overrides or run.config]
        return [Effect(key, tuple(_levels(runs, key))) for key in self.swept]

    @cached_property
    def grid(self) -> Grid | None:
        """The grid of a sweep over two keys, the one with fewer values across; None for any other
        sweep, and where it would be too large or mostly empty."""
        if len(self.keys) != 2:
            return None
        values = [sort_values([setting.values[i] for setting in self.settings]) for i in (0, 1)]
        down, across = (0, 1) if len(values[0]) >= len(values[1]) else (1, 0)
        rows, columns = values[down], values[across]
        mostly_empty = 2 * len(self.settings) < len(rows) * len(columns)
        if mostly_empty or len(columns) > _MOST_COLUMNS or len(rows) > _MOST_ROWS:
            return None
        at = {
            (parse_value(s.values[down]), parse_value(s.values[across])): s for s in self.settings
        }
        cells = (tuple(at.get((parse_value(r), parse_value(c))) for c in columns) for r in rows)
        return Grid((self.keys[down], self.keys[across]), tuple(rows), tuple(columns), tuple(cells))

    @cached_property
    def troubled(self) -> list[Run]:
        """Runs that failed, were stopped, or cannot be read."""
        calm = (FINISHED, RUNNING, WAITING)
        return [run for run in self.runs if run.error or run.state not in calm]

    @property
    def best_differs(self) -> bool:
        """Whether some finished run was better after an epoch before its last."""
        return any(
            run.best_epoch_error is not None
            and run.best_epoch_error < (run.valid.error or 0) - 1e-6
            for run in self.runs
            if run.counts
        )

    @cached_property
    def digits(self) -> int:
        """Decimals of a percentage that mean something with so many photos."""
        photos = [run.valid.photos or 0 for run in self.runs if run.counts]
        return 2 if photos and min(photos) >= _MANY_PHOTOS else 1

    def percent(self, share: float) -> str:
        """`7.1 %`."""
        return f"{self.number(share)} %"

    def number(self, share: float) -> str:
        """The number of a percentage: `7.1`."""
        return f"{100 * share:.{self.digits}f}"

    def label(self, setting: Setting) -> str:
        """A setting in short: `lr=0.003 epochs=4`."""
        pairs = zip(self.keys, setting.values, strict=True)
        return " ".join(f"{self.names[key]}={shorten(text)}" for key, text in pairs)


def summarize(folder: Path) -> Summary:
    """Read the runs of a sweep's folder as they are now; nothing is written.

    Raises:
        RunError: the folder holds no runs. A single run that cannot be read is no error.
    """
    runs = tuple(read_runs(folder))
    typed = dict.fromkeys(key for run in runs for key in run.overrides)
    swept = [key for key in typed if len({parse_value(run.value(key)) for run in runs}) > 1]
    swept.sort(key=lambda key: key == SEED)
    return Summary(folder, runs, tuple(swept), tuple(_settings(runs, swept)))


def _settings(runs: Sequence[Run], swept: Sequence[str]) -> list[Setting]:
    """The settings of the runs that could be read."""
    keys = [key for key in swept if key != SEED]
    members: dict[tuple[Value, ...], list[Run]] = {}
    for run in runs:
        if run.overrides or run.config:
            members.setdefault(tuple(parse_value(run.value(key)) for key in keys), []).append(run)
    settings = [
        Setting(tuple(same[0].value(key) for key in keys), tuple(same)) for same in members.values()
    ]
    return sorted(settings, key=lambda s: s.valid.mean if s.valid else math.inf)


def _levels(runs: Sequence[Run], key: str) -> list[Level]:
    levels = []
    for text in sort_values([run.value(key) for run in runs]):
        same = [run for run in runs if parse_value(run.value(key)) == parse_value(text)]
        errors = Sample.of(run.valid.error for run in same if run.counts)
        levels.append(Level(text, len(same), errors))
    return levels
