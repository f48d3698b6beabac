"""Typical features of each class, as few numbers: how far a photo is from all classes.

A Mahalanobis distance to the nearest class mean (Lee, Lee, Lee, Shin: A Simple Unified Framework
for Detecting Out-of-Distribution Samples and Adversarial Attacks, NeurIPS 2018), of features that
are normalised to length 1 (Mueller, Hein: Mahalanobis++, ICML 2025). With fewer photos than
features their shared covariance is not known; so it is kept along the main directions of the
training features, and one number stands for all others. docs/not_sure.md has what that reaches
beside the full covariance and the nearest neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pets.unsure.conformal import SLACK, Floats, Rows, TooFewPhotosError, photos_needed

DIRECTIONS = 64
_SHRINK = 0.1  # share of the mean variance mixed into each: few photos give too small ones


@dataclass(frozen=True)
class Typical:
    """The typical features of a network's classes, as in `rule.Unsure`.

    Attributes:
        center: (C,), the mean of all normalised features.
        directions: (k, C), orthonormal, uncorrelated within the classes.
        variances: (k,), within the classes, along the directions.
        means: (classes, k), of each class along the directions.
        rest: The mean square of all other directions together, divided by k.
    """

    center: Floats
    directions: Floats
    variances: Floats
    means: Floats
    rest: float


def fit_typical(features: Floats, labels: Rows, classes: int, most: int = DIRECTIONS) -> Typical:
    """Fit the typical features on training photos.

    Args:
        features: (photos, C), pooled, of any length.
        labels: (photos,), class indices; every class has a photo.
        classes: Number of classes.
        most: Number of directions, if there are features enough and four photos for each.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    center = unit.mean(0)
    unit = unit - center
    # More directions than a quarter of the photos would fit these photos alone.
    count = max(min(most, len(unit) // 4, unit.shape[1] - 1), 1)
    wide = unit.shape[1] > len(unit)
    _, found = np.linalg.eigh(unit @ unit.T if wide else unit.T @ unit)
    main = found[:, ::-1][:, :count].T
    if wide:  # the same directions from the smaller of the two matrices
        main = main @ unit
        main /= np.maximum(np.linalg.norm(main, axis=1, keepdims=True), 1e-12)
    inside = unit @ main.T
    counts = np.bincount(labels, minlength=classes)[:, None]
    means = np.zeros((classes, count))
    np.add.at(means, labels, inside)
    means /= np.maximum(counts, 1)
    within = inside - means[labels]
    # Turned so that the features are uncorrelated within the classes: a variance per direction.
    variances, turned = np.linalg.eigh(within.T @ within / max(len(unit) - classes, 1))
    variances = (1 - _SHRINK) * np.maximum(variances, 0) + _SHRINK * max(variances.mean(), 1e-9)
    outside = np.maximum((unit**2).sum(1) - (inside**2).sum(1), 0)
    # So that both parts count the same on average: a photo of another breed differs from the known
    # ones in what they differ in, a drawing or a tree in everything else.
    # Not below a thousandth of all: where hardly anything is across, rounding would decide.
    rest = max(float(outside.mean()), 1e-3 * float((unit**2).sum(1).mean()), 1e-9) / count
    # In the precision that they are kept in, so that distances are the same everywhere.
    center, directions, variances, means = (
        tensor.astype(np.float32) for tensor in (center, turned.T @ main, variances, means @ turned)
    )
    return Typical(center, directions, variances, means, rest)


def limit_of(distances: Floats, false_alarms: float) -> float:
    """Return the distance that a share of `false_alarms` of all photos of these classes exceeds.

    Args:
        distances: (photos,), of held-out photos.
        false_alarms: Between 0 and 1.

    Raises:
        TooFewPhotosError: There are too few photos for such a small share.
    """
    beyond = math.floor((len(distances) + 1) * false_alarms + 1e-9)
    if beyond < 1:
        needed = photos_needed(1 - false_alarms)
        raise TooFewPhotosError(f"{len(distances)} photos, and {needed} are needed")
    # Not 0, by which distances could not be divided: all photos may be the same.
    return max(float(np.sort(distances)[-beyond]), 1e-9) * (1 + SLACK)
