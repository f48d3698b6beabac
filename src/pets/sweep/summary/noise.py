"""Whether two settings differ by more than luck: an interval of their difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtrit

from pets.sweep.summary.groups import Group, Spread
from pets.sweep.summary.runs import Run

Method = Literal["paired", "welch", "binomial"]
_TWO_SIDED = 0.975  # of a 95 % interval
_NORMAL = 1.959964


@dataclass(frozen=True)
class Difference:
    """How much higher the mean validation error of a setting is than the best one's, as a share.

    `low` and `high` are the ends of a 95 % interval, `n` what it was computed from: seeds that both
    have (paired), runs of the two (welch), or photos of the two (binomial).
    """

    mean: float
    low: float
    high: float
    method: Method
    n: tuple[int, int]

    @property
    def within_noise(self) -> bool:
        """Whether there may be no difference at all."""
        return self.low <= 0 <= self.high


def difference(best: Group, other: Group) -> Difference | None:
    """`other` minus `best`; None where nothing is known about the spread of either.

    Seed by seed where both ran with the same seeds on the same photos, since what a seed does to
    both then cancels; else from the spread of each (Welch). Without a spread, because there is one
    run or the seeds changed nothing, from how much luck there is in so many photos.
    """
    if best.valid is None or other.valid is None:
        return None
    pairs = _pairs(best, other)
    if len(pairs) > 1:
        found = Spread(tuple(pairs))
        if found.deviation:
            half = found.deviation / math.sqrt(len(pairs)) * _t(len(pairs) - 1)
            return _around(found.mean, half, "paired", (len(pairs), len(pairs)))
    elif best.valid.deviation is not None and other.valid.deviation is not None:
        variances = [
            spread.deviation**2 / len(spread.values)
            for spread in (best.valid, other.valid)
            if spread.deviation is not None
        ]
        counts = (len(best.valid.values), len(other.valid.values))
        if sum(variances) > 0:
            freedom = sum(variances) ** 2 / sum(
                v**2 / (n - 1) for v, n in zip(variances, counts, strict=True)
            )
            half = math.sqrt(sum(variances)) * _t(freedom)
            return _around(other.valid.mean - best.valid.mean, half, "welch", counts)
    return _by_photos(best, other)


def _pairs(best: Group, other: Group) -> list[float]:
    """Differences of the seeds that both have, of runs on the same photos in the same splits."""
    mine, yours = _by_seed(best), _by_seed(other)
    return [yours[key] - mine[key] for key in mine if key in yours]


def _by_seed(group: Group) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], list[Run]] = {}
    for run in group.counted:
        if run.seed is not None and run.data:
            found.setdefault((str(run.seed), run.data), []).append(run)
    return {
        key: Spread(tuple(run.valid.error for run in runs if run.valid.error is not None)).mean
        for key, runs in found.items()
    }


def _by_photos(best: Group, other: Group) -> Difference | None:
    """Agresti and Caffo's interval of the difference of two shares: it holds for few photos and
    for errors of nought too. It takes the photos as different ones, which makes it wide."""
    assert best.valid is not None
    assert other.valid is not None
    if not best.photos or not other.photos:
        return None
    shares, variance = [], 0.0
    for error, n in ((best.valid.mean, best.photos), (other.valid.mean, other.photos)):
        share = (error * n + 1) / (n + 2)
        shares.append(share)
        variance += share * (1 - share) / (n + 2)
    middle, half = shares[1] - shares[0], _NORMAL * math.sqrt(variance)
    return Difference(
        other.valid.mean - best.valid.mean,
        middle - half,
        middle + half,
        "binomial",
        (best.photos, other.photos),
    )


def standard_error(error: float, photos: int) -> float:
    """Of an error rate measured on so many photos: how far other photos would move it."""
    share = (error * photos + 1) / (photos + 2)
    return math.sqrt(share * (1 - share) / (photos + 2))


def _around(mean: float, half: float, method: Method, n: tuple[int, int]) -> Difference:
    return Difference(mean, mean - half, mean + half, method, n)


def _t(freedom: float) -> float:
    return float(stdtrit(freedom, _TWO_SIDED))
