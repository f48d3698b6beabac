"""A sweep's folder read and brought together: what its tables, pictures and sentences show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pets.sweep.summary.effects import Effect, Matrix, effects, matrix
from pets.sweep.summary.groups import Group, grouped
from pets.sweep.summary.noise import Difference, difference
from pets.sweep.summary.runs import FINISHED, STATES, Run, read_runs
from pets.sweep.summary.scale import Scale
from pets.sweep.summary.settings import SEED, brief, common_settings, short_names, swept_keys

_MANY_PHOTOS = 1000


@dataclass(frozen=True)
class Summary:
    """The runs of a folder at one moment.

    `swept` are the keys that differ, `groups` the settings without the seed, the lowest mean
    validation error first.
    """

    folder: Path
    runs: tuple[Run, ...]
    swept: tuple[str, ...]
    groups: tuple[Group, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The swept keys but for the seed: a group's settings are their values."""
        return tuple(key for key in self.swept if key != SEED)

    @cached_property
    def names(self) -> dict[str, str]:
        """A short name of every swept key."""
        return short_names(self.swept)

    @cached_property
    def common(self) -> dict[str, str]:
        """What was typed for all runs alike."""
        return common_settings(self.runs, self.swept)

    @cached_property
    def states(self) -> dict[str, int]:
        """How many runs are in each state."""
        found = Counter(run.state for run in self.runs)
        return {state: found[state] for state in dict.fromkeys([*STATES, *found]) if found[state]}

    @property
    def finished(self) -> int:
        return self.states.get(FINISHED, 0)

    @property
    def ranked(self) -> tuple[Group, ...]:
        """The groups with a result."""
        return tuple(group for group in self.groups if group.valid)

    @property
    def best(self) -> Group | None:
        """The setting with the lowest mean validation error."""
        return self.ranked[0] if self.ranked else None

    @cached_property
    def differences(self) -> dict[Group, Difference | None]:
        """Every other setting with a result against the best one; None where that is unknown."""
        return {group: difference(self.ranked[0], group) for group in self.ranked[1:]}

    @cached_property
    def effects(self) -> list[Effect]:
        return effects(self.runs, self.swept)

    @cached_property
    def matrix(self) -> Matrix | None:
        return matrix(self.groups, self.swept)

    @cached_property
    def scale(self) -> Scale | None:
        """Of the errors of all finished runs."""
        errors = [error for group in self.ranked if group.valid for error in group.valid.values]
        return Scale.of(errors) if errors else None

    @cached_property
    def troubled(self) -> list[Run]:
        """Runs that ended with an error, were stopped, or cannot be read."""
        calm = ("finished", "running", "waiting")
        return [run for run in self.runs if run.error or run.state not in calm]

    @property
    def best_differs(self) -> bool:
        """Whether some finished run was better after an epoch before its last."""
        runs = [run for run in self.runs if run.counts]
        return any(r.best is not None and r.best < (r.valid.error or 0) - 1e-6 for r in runs)

    @cached_property
    def digits(self) -> int:
        """Decimals of a percentage that mean something with so many photos."""
        photos = [run.valid.photos or 0 for run in self.runs if run.counts]
        return 2 if photos and min(photos) >= _MANY_PHOTOS else 1

    def percent(self, share: float) -> str:
        return f"{100 * share:.{self.digits}f} %"

    def label(self, group: Group) -> str:
        """A group's settings in short: `lr=0.003 epochs=4`."""
        pairs = zip(self.keys, group.settings, strict=True)
        return " ".join(f"{self.names[key]}={brief(text)}" for key, text in pairs)


def summarize(folder: Path) -> Summary:
    """Read the runs below a sweep's folder as they are now; nothing is written.

    Raises RunError where the folder holds no runs. A run that cannot be read is one of its rows.
    """
    runs = tuple(read_runs(folder))
    swept = tuple(swept_keys(runs))
    return Summary(folder, runs, swept, tuple(grouped(runs, swept)))
