"""Split conformal prediction: how probable a class must be so that the sets keep a promise.

The score of a photo is one minus the probability of its label (Sadinle, Lei, Wasserman: Least
Ambiguous Set-Valued Classifiers with Bounded Error Levels, JASA 2019). It gives the smallest sets
of all scores. Sets that adapt (APS, RAPS: Romano et al. 2020, Angelopoulos et al. 2021) are larger
and need a random number per photo to keep the same promise; that hard classes are covered less
often, the reason to take them, is avoided here by a threshold per class (Mondrian; Vovk, Gammerman,
Shafer: Algorithmic Learning in a Random World, 2005).

The promise holds for photos that could have been validation photos: taken the same way, with
classes in the same shares. It is made over all such photos, not for a single one.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Thresholds are so much wider, so that rounding in another program does not change what the rule
# says of the photo that a threshold comes from.
SLACK = 1e-3
_OWN = 2  # photos below its threshold that a class of its own has: more than its single worst photo


class TooFewPhotosError(ValueError):
    """So few photos cannot promise the coverage."""


@dataclass(frozen=True)
class Thresholds:
    """From which probability on a class is in a set.

    Attributes:
        least: (classes,), a probability for each class.
        own: (classes,), whether a class has a threshold of its own photos; the others share one.
    """

    least: Floats
    own: Mask


@dataclass(frozen=True)
class Reached:
    """What sets reached on held-out photos with labels.

    Attributes:
        promised: The promised coverage.
        photos: Number of photos.
        covered: How many sets contain the photo's label.
        single: How many sets have one class.
        size: Mean number of classes in a set.
        calibrated: Number of photos that the thresholds come from.
    """

    promised: float
    photos: int
    covered: int
    single: int
    size: float
    calibrated: int

    @property
    def coverage(self) -> float:
        """The share of sets that contain the label."""
        return self.covered / max(self.photos, 1)

    @property
    def is_kept(self) -> bool:
        """Whether the coverage is above the promise, or below it within two standard deviations."""
        return self.coverage >= self.promised - 2 * self.deviation(self.promised)

    def deviation(self, promised: float) -> float:
        """Return the standard deviation of a share that was promised and measured.

        Both the photos that it is measured on and those of the thresholds are a sample.
        """
        samples = 1 / max(self.photos, 1) + 1 / (self.calibrated + 2)
        return math.sqrt(promised * (1 - promised) * samples)


def photos_needed(coverage: float, outside: int = 1) -> int:
    """Return how many photos a threshold needs for a coverage if `outside` of them are below it."""
    # 1 - 1e-20 is 1 as a float: no number of photos is enough, but there is one to be shown.
    return math.ceil(outside / max(1 - coverage, sys.float_info.epsilon) - 1 - 1e-9)


def least_probability(of_labels: Floats, coverage: float) -> float:
    """Return the probability that the label of the next photo reaches as often as promised.

    Args:
        of_labels: (photos,), the probability of each photo's label.
        coverage: The promised share of photos, between 0 and 1.

    Raises:
        TooFewPhotosError: There are too few photos for this coverage.
    """
    outside = math.floor((len(of_labels) + 1) * (1 - coverage) + 1e-9)
    if outside < 1:
        raise TooFewPhotosError(
            f"{len(of_labels)} photos, and {photos_needed(coverage)} are needed"
        )
    return float(np.sort(of_labels)[outside - 1]) * (1 - SLACK)


def fit_thresholds(probabilities: Floats, labels: Rows, coverage: float) -> Thresholds:
    """Fit the thresholds on held-out photos.

    A class with enough of them has its own; all other classes share one. If those have too few
    photos, all classes share one.

    Args:
        probabilities: (photos, classes).
        labels: (photos,), class indices.
        coverage: The promised share of sets that contain the label.

    Raises:
        TooFewPhotosError: All photos together are too few for this coverage.
    """
    classes = probabilities.shape[1]
    of_labels = probabilities[np.arange(len(labels)), labels]
    own = np.bincount(labels, minlength=classes) >= photos_needed(coverage, _OWN)
    rest = ~own[labels]
    if not own.all() and rest.sum() < photos_needed(coverage):
        own, rest = np.zeros(classes, bool), np.ones(len(labels), bool)
    least = np.empty(classes)
    if not own.all():
        least[~own] = least_probability(of_labels[rest], coverage)
    for index in np.flatnonzero(own):
        least[index] = least_probability(of_labels[labels == index], coverage)
    return Thresholds(least, own)


def sets_of(probabilities: Floats, least: Floats) -> Mask:
    """Return the classes in each photo's set (photos, classes).

    The most probable one always is, which can only add to the coverage.
    """
    sets: Mask = probabilities >= least
    sets[np.arange(len(sets)), probabilities.argmax(1)] = True
    return sets


def measure(
    probabilities: Floats, labels: Rows, least: Floats, coverage: float, calibrated: int
) -> Reached:
    """Measure sets on photos (photos, classes) that the thresholds were not fitted on.

    They have labels; `calibrated` is the number of photos that the thresholds were fitted on.
    """
    sets = sets_of(probabilities, least)
    sizes = sets.sum(1)
    return Reached(
        promised=coverage,
        photos=len(labels),
        covered=int(sets[np.arange(len(labels)), labels].sum()),
        single=int((sizes == 1).sum()),
        size=float(sizes.mean()),
        calibrated=calibrated,
    )


def measure_halves(
    probabilities: Floats, labels: Rows, coverage: float, splits: int = 20
) -> Reached:
    """Measure sets if there are no photos beside those of the thresholds.

    These are fitted on a random half of the photos and measured on the other, the mean of some
    splits.

    Raises:
        TooFewPhotosError: Half of the photos are too few for this coverage.
    """
    random, found = np.random.default_rng(0), []
    half = len(labels) // 2
    for _ in range(splits):
        order = random.permutation(len(labels))
        fitted, other = order[:half], order[half:]
        least = fit_thresholds(probabilities[fitted], labels[fitted], coverage).least
        found.append(measure(probabilities[other], labels[other], least, coverage, half))
    return Reached(
        promised=coverage,
        photos=found[0].photos,
        covered=round(float(np.mean([one.covered for one in found]))),
        single=round(float(np.mean([one.single for one in found]))),
        size=float(np.mean([one.size for one in found])),
        calibrated=half,
    )
