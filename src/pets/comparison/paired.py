"""Statistics of two classifiers on the same photos: exact McNemar test, interval, classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, false_discovery_control, norm

SIGNIFICANT = 0.05  # a p-value below it is more than chance
_CONFIDENCE = 0.95

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Paired:
    """How many photos two classifiers get right: both of them, or only one.

    Attributes:
        photos: All photos.
        both: Right in both runs.
        only_old: Right in the old run alone.
        only_new: Right in the new run alone.
    """

    photos: int
    both: int
    only_old: int
    only_new: int

    @classmethod
    def of(cls, old: Mask, new: Mask) -> Paired:
        """Count from whether each photo (N,) is right in the old and in the new run."""
        both, only_old, only_new = (old & new, old & ~new, ~old & new)
        return cls(len(old), int(both.sum()), int(only_old.sum()), int(only_new.sum()))

    @property
    def neither(self) -> int:
        return self.photos - self.both - self.flipped

    @property
    def flipped(self) -> int:
        """How many photos are right in one of the runs only."""
        return self.only_old + self.only_new

    @property
    def old(self) -> float:
        """The accuracy of the old run."""
        return (self.both + self.only_old) / self.photos

    @property
    def new(self) -> float:
        """The accuracy of the new run."""
        return (self.both + self.only_new) / self.photos

    @property
    def difference(self) -> float:
        """The accuracy of the new run minus that of the old one."""
        return (self.only_new - self.only_old) / self.photos

    @property
    def p(self) -> float:
        """The p-value of the exact two-sided McNemar test; 1 if no photo flipped.

        If the runs are equally good, a photo that flips does so either way with the same chance.
        """
        if not self.flipped:
            return 1.0
        return float(binomtest(self.only_new, self.flipped, 0.5).pvalue)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference, for the sampling of photos only."""
        return self.interval_at(_CONFIDENCE)

    def interval_at(self, confidence: float) -> tuple[float, float]:
        """Return the interval of the difference with another confidence.

        Bonett and Price: Adjusted Wald confidence interval for a difference of binomial proportions
        based on paired data, 2012. One photo is added to each kind of flip, so that it has a width
        even if no photo flipped. The exact test is a little stricter: with few flips the interval
        may just leave out 0 where the test does not call the difference more than chance.
        """
        old, new = (self.only_old + 1) / (self.photos + 2), (self.only_new + 1) / (self.photos + 2)
        centre = new - old
        error = math.sqrt((new + old - centre**2) / (self.photos + 2))
        reach = float(norm.ppf((1 + confidence) / 2)) * error
        return max(centre - reach, -1.0), min(centre + reach, 1.0)

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance, by the exact McNemar test."""
        return self.p < SIGNIFICANT

    def fails(self, fail_on: str) -> bool:
        """Whether the new run is worse in the sense of `fail_on`.

        `worse` means in fewer photos right, `significant` by more than chance; `never` is never.
        """
        worse = self.only_old > self.only_new
        return worse and (fail_on == "worse" or (fail_on == "significant" and self.significant))

    def as_dict(self) -> dict[str, Any]:
        """The counts and what follows from them, as plain values."""
        return {
            "photos": self.photos, "both": self.both, "only_old": self.only_old,
            "only_new": self.only_new, "neither": self.neither, "old_accuracy": self.old,
            "new_accuracy": self.new, "difference": self.difference,
            "interval": list(self.interval), "p": self.p,
        }  # fmt: skip


def fewest_flips() -> int:
    """Return how many photos have to flip, all the same way, before that is more than chance."""
    flips = 1
    while binomtest(flips, flips, 0.5).pvalue >= SIGNIFICANT:
        flips += 1
    return flips


def by_class(
    labels: NDArray[np.int64], classes: Sequence[str], old: Mask, new: Mask
) -> dict[str, Paired]:
    """Return the counts of every class that has photos, in the order of `classes`.

    Args:
        labels: The class index of each photo (N,).
        classes: The names of the classes.
        old: Whether each photo (N,) is right in the old run.
        new: The same for the new run.
    """
    masks = {name: labels == index for index, name in enumerate(classes)}
    return {name: Paired.of(old[m], new[m]) for name, m in masks.items() if m.any()}


def adjusted(classes: dict[str, Paired]) -> dict[str, float]:
    """Return the p-value of each class, corrected for the number of classes.

    By Benjamini and Hochberg (1995): of the classes below 0.05, about one in twenty is there by
    chance.
    """
    values = false_discovery_control([paired.p for paired in classes.values()])
    return dict(zip(classes, map(float, values), strict=True))
