"""In which order photos are shown, by features and the head's probabilities: plain numpy.

All orders are of rows, the first one first. Features (N, C) have unit length, so that dot products
are cosines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
NEIGHBOURS = 20  # as many as TypiClust has
_BLOCK = 1024  # rows: similarities of all rows at once would not fit into memory


def margins(probabilities: Floats) -> Floats:
    """Return the best probability less the second best (N,): 0 where two classes are as likely."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), np.float32)
    best = np.partition(probabilities, -2, axis=1)
    margin: Floats = best[:, -1] - best[:, -2]
    return margin


def least_sure(probabilities: Floats, rows: Rows) -> Rows:
    """Order rows by their margin, the smallest first."""
    return rows[np.argsort(margins(probabilities[rows]), kind="stable")]


def density(features: Floats, neighbours: int = NEIGHBOURS) -> Floats:
    """Return how typical each row is (N,): its mean cosine to its nearest neighbours, at least 0.

    As in TypiClust (Hacohen, Dekel, Weinshall: Active Learning on a Budget, ICML 2022).
    """
    k = min(neighbours, len(features) - 1)
    result = np.ones(len(features), np.float32)
    for start in range(0, len(features) if k else 0, _BLOCK):
        cosines = features[start : start + _BLOCK] @ features.T
        here = np.arange(len(cosines))
        cosines[here, start + here] = -np.inf  # a row is no neighbour of its own
        nearest = np.partition(cosines, -k, axis=1)[:, -k:]
        result[start : start + _BLOCK] = np.maximum(nearest.mean(1), 0)
    return result


def closeness(features: Floats, rows: Rows, to: Rows) -> Floats:
    """Return the cosine of each of the rows to the nearest of the others (len(rows),); -1 if there
    are no others."""
    result = np.full(len(rows), -1, np.float32)
    for start in range(0, len(rows) if len(to) else 0, _BLOCK):
        part = rows[start : start + _BLOCK]
        result[start : start + _BLOCK] = (features[part] @ features[to].T).max(1)
    return result


def spread(features: Floats, worth: Floats, rows: Rows, near: Floats, count: int) -> Rows:
    """Choose rows one by one, each of high worth and far from those before it.

    Args:
        features: (N, C).
        worth: (len(rows),), at least 0.
        rows: The rows to choose from.
        near: (len(rows),), the cosine of each to the nearest labelled one.
        count: How many are chosen in this way; the others follow by their worth.

    Returns:
        All rows in order.
    """
    left, near, chosen = np.ones(len(rows), bool), near.copy(), list[int]()
    for _ in range(min(count, len(rows))):
        score = np.where(left, worth * (1 - near), -np.inf)
        best = int(score.argmax())
        chosen.append(best)
        left[best] = False
        near = np.maximum(near, features[rows] @ features[rows[best]])
    rest = np.flatnonzero(left)
    rest = rest[np.argsort(-worth[rest], kind="stable")]
    return rows[np.concatenate([np.array(chosen, np.int64), rest])]


def in_groups(groups: Iterable[Sequence[int]], labels: Rows) -> Rows:
    """Return the rows of groups of look-alikes, group by group: those with several labels first,
    then the largest.

    `labels` (N,) are class indices, -1 for none.
    """

    def rank(group: Sequence[int]) -> tuple[int, int]:
        different = {int(label) for label in labels[list(group)]} - {-1}
        return -len(different), -len(group)

    ordered = sorted(groups, key=rank)
    return np.array([row for group in ordered for row in group], dtype=np.int64)


def alternate(first: Rows, second: Rows) -> Rows:
    """Take one of each in turn, each row once."""
    both = [int(row) for pair in zip(first, second, strict=False) for row in pair]
    longer = first if len(first) > len(second) else second
    both += longer[min(len(first), len(second)) :].tolist()
    return np.array(list(dict.fromkeys(both)), dtype=np.int64)
