"""Selection of photos: pure functions from arrays to row numbers, best first, and neighbours.

fastai's verbs. None raises when fewer rows match than were asked for; a good model has few errors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

Rows = NDArray[np.int64]
Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]


def highest(values: Floats, k: int, mask: Mask | None = None) -> Rows:
    """At most `k` rows of `mask` by falling value; equal ones in the table's order.

    Raises ValueError for a negative `k`.
    """
    _check(k)
    rows = np.flatnonzero(mask) if mask is not None else np.arange(len(values))
    return rows[np.argsort(-values[rows], kind="stable")[:k]]


def at_random(mask: Mask, k: int, seed: int) -> Rows:
    """At most `k` rows of `mask`, the same ones for the same seed.

    Raises ValueError for a negative `k`.
    """
    _check(k)
    rows = np.flatnonzero(mask)
    return np.random.default_rng(seed).choice(rows, min(k, len(rows)), replace=False)


def top_losses(losses: Floats, k: int) -> Rows:
    """The `k` rows with the highest loss."""
    return highest(losses, k)


def random_correct(labels: Rows, predictions: Rows, k: int, seed: int) -> Rows:
    """At most `k` rows that were predicted right, at random."""
    return at_random(labels == predictions, k, seed)


def random_incorrect(labels: Rows, predictions: Rows, k: int, seed: int) -> Rows:
    """At most `k` rows that were predicted wrong, at random."""
    return at_random(labels != predictions, k, seed)


def most_correct(labels: Rows, probabilities: Floats, label: int, k: int) -> Rows:
    """Photos of `label` that were predicted right, the surest first."""
    right = (labels == label) & (probabilities.argmax(1) == labels)
    return highest(probabilities[:, label], k, right)


def most_incorrect(labels: Rows, probabilities: Floats, label: int, k: int) -> Rows:
    """Photos of `label` that were predicted wrong, the one furthest from its label first."""
    wrong = (labels == label) & (probabilities.argmax(1) != labels)
    return highest(-probabilities[:, label], k, wrong)


def margins(probabilities: Floats) -> Floats:
    """The highest probability minus the second highest, a row."""
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def entropies(probabilities: Floats) -> Floats:
    """Shannon entropy in nats, a row: 0 for a sure prediction, log(classes) for a guess."""
    return entr(probabilities).sum(1)


def most_uncertain(probabilities: Floats, k: int) -> Rows:
    """The `k` rows whose two most probable classes are closest, for any number of classes."""
    return highest(-margins(probabilities), k)


class Neighbours(NamedTuple):
    """Row numbers of the nearest photos (queries, k), and their cosine similarities."""

    rows: Rows
    similarity: Floats


def nearest(queries: Floats, photos: Floats, k: int, itself: Rows | None = None) -> Neighbours:
    """Find the most similar photos by cosine similarity, exactly.

    Args:
        queries: features (Q, C).
        photos: features (N, C).
        k: neighbours of each query.
        itself: (Q,), the row of `photos` that a query is, which is no neighbour; -1 if none.
    """
    similarity = unit_length(queries) @ unit_length(photos).T
    if itself is not None:
        known = np.flatnonzero(itself >= 0)
        similarity[known, itself[known]] = -np.inf
    among = similarity.shape[1] - (itself is not None and bool((itself >= 0).any()))
    k = min(k, among)
    rows = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return Neighbours(rows, np.take_along_axis(similarity, rows, axis=1))


def unit_length(features: Floats) -> Floats:
    """Rows of length 1, so that a dot product is a cosine."""
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _check(k: int) -> None:
    if k < 0:
        raise ValueError(f"k={k}: expected a number of photos of at least 0")
