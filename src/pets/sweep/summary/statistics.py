"""Runs that differ in their seed alone, and whether two such settings differ by more than noise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Literal

from scipy.special import stdtrit

from pets.sweep.summary.runs import Run

Method = Literal["paired", "welch", "binomial"]

_CONFIDENCE = 0.95
_NORMAL_QUANTILE = 1.959964  # two-sided, at that confidence


@dataclass(frozen=True)
class Sample:
    """Errors of some runs, at least one."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Sample | None:
        """A sample of the known values; None where there is none."""
        known = tuple(value for value in values if value is not None)
        return cls(known) if known else None

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @cached_property
    def sd(self) -> float | None:
        """The sample standard deviation (n - 1); None of a single value."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True, eq=False)
class Setting:
    """The runs that differ in their seed alone; `values` are those of the swept keys."""

    values: tuple[str, ...]
    runs: tuple[Run, ...]

    @cached_property
    def counted(self) -> tuple[Run, ...]:
        """The finished runs with a validation error."""
        return tuple(run for run in self.runs if run.counts)

    @cached_property
    def valid(self) -> Sample | None:
        """Validation errors after the last epoch; None where no run has finished."""
        return Sample.of(run.valid.error for run in self.counted)

    @cached_property
    def test(self) -> Sample | None:
        return Sample.of(run.test.error for run in self.counted)

    @property
    def photos(self) -> int | None:
        """The number of validation photos; None where the runs had different numbers."""
        counts = {run.valid.photos for run in self.counted}
        return counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True)
class Difference:
    """How much higher a setting's mean validation error is than the best one's, as a share of 1.

    `low` and `high` are the ends of a 95 % confidence interval. `n` is what it was computed from:
    common seeds (paired), runs of either (welch), or photos of either (binomial).
    """

    mean: float
    low: float
    high: float
    method: Method
    n: tuple[int, int]

    @property
    def within_noise(self) -> bool:
        return self.low <= 0 <= self.high


def difference(best: Setting, other: Setting) -> Difference | None:
    """The error of `other` minus that of `best`; None where the noise of either is unknown.

    Seed by seed where both had the same seeds and photos, since what a seed does to both cancels
    (paired t-test); else from the spread of each (Welch's t-test). Without any spread, from the
    chance in the number of photos.
    """
    if best.valid is None or other.valid is None:
        return None
    mean = other.valid.mean - best.valid.mean
    pairs = _pairs(best, other)
    if len(pairs) > 1:
        if error := stdev(pairs) / math.sqrt(len(pairs)):
            n = (len(pairs), len(pairs))
            return _by_student(fmean(pairs), error, len(pairs) - 1, "paired", n)
    elif best.valid.sd is not None and other.valid.sd is not None:
        n = (len(best.valid.values), len(other.valid.values))
        variances = best.valid.sd**2 / n[0], other.valid.sd**2 / n[1]
        if total := sum(variances):
            freedom = total**2 / (variances[0] ** 2 / (n[0] - 1) + variances[1] ** 2 / (n[1] - 1))
            return _by_student(mean, math.sqrt(total), freedom, "welch", n)
    if not best.photos or not other.photos:
        return None
    # Agresti and Caffo (2000): it also holds for few photos and for an error of 0. It takes the
    # photos of the two as different ones, which makes it wide.
    p, q = _shrunk(best.valid.mean, best.photos), _shrunk(other.valid.mean, other.photos)
    half = _NORMAL_QUANTILE * math.hypot(
        standard_error(best.valid.mean, best.photos), standard_error(other.valid.mean, other.photos)
    )
    return Difference(mean, q - p - half, q - p + half, "binomial", (best.photos, other.photos))


def _by_student(
    mean: float, error: float, freedom: float, method: Method, n: tuple[int, int]
) -> Difference:
    """The interval of Student's t distribution around a mean with a standard error."""
    half = float(stdtrit(freedom, (1 + _CONFIDENCE) / 2)) * error
    return Difference(mean, mean - half, mean + half, method, n)


def standard_error(error: float, photos: int) -> float:
    """How far an error rate that was measured on so many photos would move with other photos."""
    share = _shrunk(error, photos)
    return math.sqrt(share * (1 - share) / (photos + 2))


def _shrunk(error: float, photos: int) -> float:
    """An error rate with one photo more that is right and one that is wrong."""
    return (error * photos + 1) / (photos + 2)


def _pairs(best: Setting, other: Setting) -> list[float]:
    """`other` minus `best` where both had the same seed and the same photos in the same splits."""
    errors, other_errors = _by_seed(best), _by_seed(other)
    return [other_errors[key] - errors[key] for key in errors if key in other_errors]


def _by_seed(setting: Setting) -> dict[tuple[str, str], float]:
    errors: dict[tuple[str, str], list[float]] = {}
    for run in setting.counted:
        if run.seed is not None and run.data and run.valid.error is not None:
            errors.setdefault((str(run.seed), run.data), []).append(run.valid.error)
    return {key: fmean(same) for key, same in errors.items()}
