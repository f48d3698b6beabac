"""Settings (runs that differ only in seed or fold), and which differ by more than noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pets.config.monitor import ERROR_RATE, Monitor
from pets.summary.folds import FOLD, OutOfFold, pool_folds
from pets.summary.runs import read_runs

SEED = "seed"
REPEATED = (FOLD, SEED)  # keys in which the runs of one setting may differ
_CONFIDENCE = 0.95
_TINY = 1e-9  # a spread below it is rounding
_MANY_PHOTOS = 1000


@dataclass(frozen=True)
class Difference:
    """How much worse a setting is in the mean than the best one.

    That is how much higher its validation error is, as a fraction, or how much lower a metric of
    which more is better.

    `low` and `high` are the ends of a 95 % confidence interval, `basis` is its method and sample.
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
    """Runs that differ only in their seed or their fold.

    Attributes:
        values: the values of the swept keys, as text.
        label: the same for a sentence: `lr=0.003 epochs=4`.
        runs: the finished runs with a result.
        started: total number of runs.
        pruned: number of runs that the sweep stopped as hopeless.
        monitor: the metric that they are compared by.
        difference: to the best setting; None for the best one, and if the noise is unknown.
    """

    values: tuple[str, ...]
    label: str
    runs: pd.DataFrame
    started: int
    pruned: int = 0
    monitor: Monitor = ERROR_RATE
    difference: Difference | None = None

    @property
    def scores(self) -> pd.Series[float]:
        """The metric on the validation photos after the last epoch: by default the error."""
        return self.runs[f"valid_{self.monitor.short}"]

    @property
    def losses(self) -> pd.Series[float]:
        """The scores so that lower is better; of shares what is missing to 1."""
        return float(self.monitor.is_share) - self.scores if self.monitor.maximize else self.scores

    @property
    def photos(self) -> int:
        """The number of validation photos; 0 if it is unknown or differs between runs."""
        counts = self.runs.valid_photos.unique()
        return 0 if len(counts) != 1 or np.isnan(counts[0]) else int(counts[0])


@dataclass(frozen=True)
class Summary:
    """The runs of a folder at one moment, grouped into settings.

    Attributes:
        folder: the sweep's folder.
        runs: one row per run, ordered by number.
        values: one row per run: the text of each key that differs between runs, fold and seed last.
        names: the shortest unambiguous suffix of each key: `lr` for `plan.stages.head.lr`.
        settings: the best mean first, by default the lowest validation error; those without a
            result last.
        monitor: the metric that the runs are compared by.
        mixed: names of the metrics that the runs monitor, if they are several.
        out_of_fold: the pooled predictions of the best setting, if its runs differ in their fold.
    """

    folder: Path
    runs: pd.DataFrame
    values: pd.DataFrame
    names: dict[str, str]
    settings: list[Setting]
    monitor: Monitor = ERROR_RATE
    mixed: tuple[str, ...] = ()
    out_of_fold: OutOfFold | None = None

    @property
    def label(self) -> str:
        """What the runs are compared by: `validation error`."""
        return f"validation {self.monitor.words}"

    @property
    def scores(self) -> pd.Series[float]:
        """The metric of every run."""
        return self.runs[f"valid_{self.monitor.short}"]

    @property
    def over_folds(self) -> bool:
        """Whether the runs of a setting differ in their fold."""
        return FOLD in self.names

    @property
    def ranked(self) -> list[Setting]:
        """The settings that have a result."""
        return [setting for setting in self.settings if len(setting.scores)]

    @cached_property
    def near_best(self) -> list[Setting]:
        """The best setting, and those within noise of it."""
        others = [s for s in self.ranked[1:] if s.difference and s.difference.within_noise]
        return [*self.ranked[:1], *others]

    @property
    def troubled(self) -> pd.DataFrame:
        """Runs that failed, were stopped, or cannot be read."""
        calm = self.runs.state.isin(("finished", "pruned", "running", "waiting"))
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
        """Number of meaningful decimals of a percentage, given the number of photos."""
        return 2 if self.runs.valid_photos.min() >= _MANY_PHOTOS else 1

    def percent(self, share: float, unit: str = " %") -> str:
        """`7.1 %`, or empty for NaN. A metric that is no share has four decimals and no unit."""
        if math.isnan(share):
            return ""
        return f"{100 * share:.{self.digits}f}{unit}" if self.monitor.is_share else f"{share:.4f}"


def summarize(folder: Path) -> Summary:
    """Read the runs of a sweep's folder as they are now; nothing is written.

    Raises:
        RunError: The folder contains no runs. Unreadable runs are no error.
    """
    runs, values, monitors = read_runs(folder)
    monitor = monitors[0] if len(monitors) == 1 else ERROR_RATE
    runs = runs.reindex(columns=[*dict.fromkeys([*runs, *columns_of(monitor)])])
    readable = runs.state != "unreadable"
    swept = [str(key) for key, column in values.items() if column[readable].nunique() > 1]
    swept.sort(key=lambda key: REPEATED.index(key) + 1 if key in REPEATED else 0)
    names = {key: _short_name(key, swept) for key in swept}
    keys = [key for key in swept if key not in REPEATED]
    settings = []
    groups: Any = [((), values[readable])]
    if keys:
        groups = values[readable].groupby(keys, sort=False)
    for texts, same in groups:
        pairs = zip(keys, texts, strict=True)
        label = " ".join(f"{names[key]}={shorten(text)}" for key, text in pairs)
        finished = runs.loc[same.index].dropna(subset=f"valid_{monitor.short}")
        pruned = int((runs.state[same.index] == "pruned").sum())
        settings.append(Setting(texts, label, finished, len(same), pruned, monitor))
    settings.sort(key=lambda setting: (not len(setting.scores), float(setting.losses.mean())))
    settings[1:] = [replace(s, difference=difference(settings[0], s)) for s in settings[1:]]
    pooled = None
    if FOLD in swept and len(settings[0].scores):
        pooled = pool_folds(folder, settings[0].runs, values[readable][FOLD].nunique())
    mixed = tuple(one.key for one in monitors) if len(monitors) > 1 else ()
    return Summary(folder, runs, values[swept], names, settings, monitor, mixed, pooled)


def difference(best: Setting, other: Setting) -> Difference | None:
    """Return how much worse `other` is than `best`; None if the noise is unknown.

    If both have the same seeds and photos, a paired t-test over seeds and folds, which cancels what
    they do to both; else Welch's t-test. Without a spread over seeds, a binomial interval for the
    number of photos (Agresti and Caffo 2000), if the metric is a share of them.
    """
    a, b = best.losses, other.losses
    if not len(a) or not len(b):
        return None
    pairs = (_by_seed(other) - _by_seed(best)).dropna()
    if pairs.std() > _TINY:
        low, high = stats.t.interval(_CONFIDENCE, len(pairs) - 1, pairs.mean(), pairs.sem())
        seeds, splits = (pairs.index.get_level_values(name).nunique() for name in ("seed", "data"))
        basis = f"paired by seed, {len(pairs)} seeds on the same photos"
        if splits > seeds:
            basis = (
                f"paired by fold, {len(pairs)} pairs of runs; folds share training photos, so that "
                "it is a little too narrow"
            )
        return Difference(pairs.mean(), low, high, basis)
    if len(pairs) < 2 <= min(len(a), len(b)) and min(a.std(), b.std()) > _TINY:
        low, high = stats.ttest_ind(b, a, equal_var=False).confidence_interval(_CONFIDENCE)
        basis = f"Welch's t-test, {len(a)} and {len(b)} runs"
        return Difference(b.mean() - a.mean(), low, high, basis)
    if not best.photos or not other.photos or not best.monitor.counts_photos:
        return None
    (p, p_error), (q, q_error) = (shrunk(s.losses.mean(), s.photos) for s in (best, other))
    half = float(stats.norm.ppf((1 + _CONFIDENCE) / 2)) * math.hypot(p_error, q_error)
    photos = f"{best.photos:,}" + (f" and {other.photos:,}" if other.photos != best.photos else "")
    basis = f"binomial, from {photos} validation photos"
    return Difference(b.mean() - a.mean(), q - p - half, q - p + half, basis)


def shrunk(error: float, photos: int) -> tuple[float, float]:
    """Return an error rate with one right and one wrong photo added, and its standard error."""
    share = (error * photos + 1) / (photos + 2)
    return share, math.sqrt(share * (1 - share) / (photos + 2))


def shorten(text: str, width: int = 40) -> str:
    """Shorten a value for a sentence or a label: round long numbers, cut long texts."""
    number = pd.to_numeric(text, errors="coerce")
    if len(text) > 8 and np.isfinite(number):
        return f"{number:.3g}"
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _by_seed(setting: Setting) -> pd.Series[float]:
    """Return the mean loss per seed and data fingerprint (photos and splits)."""
    known = setting.runs[setting.runs.data != ""]
    return setting.losses[known.index].groupby([known.seed, known.data]).mean()


def columns_of(monitor: Monitor) -> list[str]:
    """The columns of a run's scores, which exist even if no run has one yet."""
    return [f"{when}_{monitor.short}" for when in ("valid", "last_epoch", "best_epoch", "test")]


def _short_name(key: str, keys: list[str]) -> str:
    """Return a key's shortest unambiguous suffix; keys of two parts are not shortened."""
    parts = key.split(".")
    ends = [".".join(parts[-n:]) for n in range(1 if len(parts) != 2 else 2, len(parts))]
    return next((e for e in ends if sum(f".{k}".endswith(f".{e}") for k in keys) == 1), key)
