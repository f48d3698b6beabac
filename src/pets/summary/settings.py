"""Settings, each of runs that differ in their seed alone, and which differ by more than noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pets.summary.runs import read_runs

SEED = "seed"
_CONFIDENCE = 0.95
_TINY = 1e-9  # a spread below it is rounding
_MANY_PHOTOS = 1000


@dataclass(frozen=True)
class Difference:
    """How much higher the mean validation error is than that of the best setting, a share of 1.

    `low` and `high` are the ends of a 95 % confidence interval, `basis` says what it rests on.
    """

    mean: float
    low: float
    high: float
    basis: str

    @property
    def within_noise(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ in their seed alone.

    Attributes:
        values: those of the swept keys, as text.
        label: the same for a sentence: `lr=0.003 epochs=4`.
        runs: the finished ones that have a validation error.
        started: how many runs there are in all.
        difference: to the best setting; None for that one, and where nothing is known of the noise.
    """

    values: tuple[str, ...]
    label: str
    runs: pd.DataFrame
    started: int
    difference: Difference | None = None

    @property
    def errors(self) -> pd.Series[float]:
        """Validation errors after the last epoch."""
        return self.runs.valid_error

    @property
    def photos(self) -> int:
        """The number of validation photos; 0 where it is not known, or not always the same."""
        counts = self.runs.valid_photos.unique()
        return 0 if len(counts) != 1 or np.isnan(counts[0]) else int(counts[0])


@dataclass(frozen=True)
class Summary:
    """The runs of a folder at one moment, and what follows from them.

    Attributes:
        folder: the sweep's folder.
        runs: a row a run, by their numbers.
        values: of each run, the text of each key that differs between runs, the seed last.
        names: of each of these keys the shortest unambiguous end: `lr` for `plan.stages.head.lr`.
        settings: the lowest mean validation error first, those without a result last.
    """

    folder: Path
    runs: pd.DataFrame
    values: pd.DataFrame
    names: dict[str, str]
    settings: list[Setting]

    @property
    def ranked(self) -> list[Setting]:
        """The settings that have a result."""
        return [setting for setting in self.settings if len(setting.errors)]

    @cached_property
    def near_best(self) -> list[Setting]:
        """The best setting, and those within noise of it."""
        others = [s for s in self.ranked[1:] if s.difference and s.difference.within_noise]
        return [*self.ranked[:1], *others]

    @property
    def troubled(self) -> pd.DataFrame:
        """Runs that failed, were stopped, or cannot be read."""
        calm = self.runs.state.isin(("finished", "running", "waiting"))
        return self.runs[~calm | (self.runs.error != "")]

    @property
    def states(self) -> str:
        """`12 of 18 runs finished, 2 running, 4 waiting`."""
        counts = self.runs.state.value_counts()
        finished = f"{counts.pop('finished') if 'finished' in counts else 0} of {len(self.runs)}"
        others = "".join(f", {count} {state}" for state, count in counts.items())
        return f"{finished} {'run' if len(self.runs) == 1 else 'runs'} finished{others}"

    @cached_property
    def digits(self) -> int:
        """Decimals of a percentage that mean something with so many photos."""
        return 2 if self.runs.valid_photos.min() >= _MANY_PHOTOS else 1

    def percent(self, share: float, unit: str = " %") -> str:
        """`7.1 %`, or empty for NaN."""
        return "" if math.isnan(share) else f"{100 * share:.{self.digits}f}{unit}"


def summarize(folder: Path) -> Summary:
    """Read the runs of a sweep's folder as they are now; nothing is written.

    Raises:
        RunError: the folder holds no runs. A single run that cannot be read is no error.
    """
    runs, values = read_runs(folder)
    readable = runs.state != "unreadable"
    swept = [str(key) for key, column in values.items() if column[readable].nunique() > 1]
    swept.sort(key=lambda key: key == SEED)
    names = {key: _short_name(key, swept) for key in swept}
    keys = [key for key in swept if key != SEED]
    settings = []
    groups: Any = [((), values[readable])]
    if keys:
        groups = values[readable].groupby(keys, sort=False)
    for texts, same in groups:
        pairs = zip(keys, texts, strict=True)
        label = " ".join(f"{names[key]}={shorten(text)}" for key, text in pairs)
        finished = runs.loc[same.index].dropna(subset="valid_error")
        settings.append(Setting(texts, label, finished, len(same)))
    settings.sort(key=lambda setting: (not len(setting.errors), setting.errors.mean()))
    settings[1:] = [replace(s, difference=difference(settings[0], s)) for s in settings[1:]]
    return Summary(folder, runs, values[swept], names, settings)


def difference(best: Setting, other: Setting) -> Difference | None:
    """The error of `other` minus that of `best`; None where nothing is known of the noise.

    Seed by seed where both had the same seeds and photos, since what a seed does to both cancels
    (paired t-test); else from the spread of each (Welch's t-test). Without any spread, from the
    chance that is in the number of photos (Agresti and Caffo 2000).
    """
    a, b = best.errors, other.errors
    if not len(a) or not len(b):
        return None
    pairs = (_by_seed(other) - _by_seed(best)).dropna()
    if pairs.std() > _TINY:
        low, high = stats.t.interval(_CONFIDENCE, len(pairs) - 1, pairs.mean(), pairs.sem())
        basis = f"paired by seed, {len(pairs)} seeds on the same photos"
        return Difference(pairs.mean(), low, high, basis)
    if len(pairs) < 2 and min(a.std(), b.std()) > _TINY:
        low, high = stats.ttest_ind(b, a, equal_var=False).confidence_interval(_CONFIDENCE)
        basis = f"Welch's t-test, {len(a)} and {len(b)} runs"
        return Difference(b.mean() - a.mean(), low, high, basis)
    if not best.photos or not other.photos:
        return None
    (p, p_error), (q, q_error) = (shrunk(s.errors.mean(), s.photos) for s in (best, other))
    half = float(stats.norm.ppf((1 + _CONFIDENCE) / 2)) * math.hypot(p_error, q_error)
    photos = f"{best.photos:,}" + (f" and {other.photos:,}" if other.photos != best.photos else "")
    basis = f"binomial, from {photos} validation photos"
    return Difference(b.mean() - a.mean(), q - p - half, q - p + half, basis)


def shrunk(error: float, photos: int) -> tuple[float, float]:
    """An error rate with a right and a wrong photo more, and how far other photos would move it."""
    share = (error * photos + 1) / (photos + 2)
    return share, math.sqrt(share * (1 - share) / (photos + 2))


def shorten(text: str, width: int = 40) -> str:
    """A value for a sentence or a label: long numbers rounded, long texts cut."""
    number = pd.to_numeric(text, errors="coerce")
    if len(text) > 8 and np.isfinite(number):
        return f"{number:.3g}"
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _by_seed(setting: Setting) -> pd.Series[float]:
    """The validation error of each seed on the same photos in the same splits."""
    return setting.runs[setting.runs.data != ""].groupby(["seed", "data"]).valid_error.mean()


def _short_name(key: str, keys: list[str]) -> str:
    """Keys of two parts stay whole: `enabled` alone would not tell of `precompute.enabled`."""
    parts = key.split(".")
    ends = [".".join(parts[-n:]) for n in range(1 if len(parts) != 2 else 2, len(parts))]
    return next((e for e in ends if sum(f".{k}".endswith(f".{e}") for k in keys) == 1), key)
