"""Order photos for labelling by their features and the head's probabilities: plain numpy.

An order is an array of row numbers. Features (N, C) have unit length, so that their dot products
are cosine similarities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
NEIGHBOURS = 20  # as in TypiClust
_BLOCK = 1024  # rows at a time: the similarities of all pairs would not fit into memory


def margins(probabilities: Floats) -> Floats:
    """Return the highest probability minus the second highest (N,); 1 for a single class."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), np.float32)
    highest = np.partition(probabilities, -2, axis=1)
    margin: Floats = highest[:, -1] - highest[:, -2]
    return margin


def least_sure(probabilities: Floats, rows: Rows) -> Rows:
    """Order rows by their margin, the smallest first."""
    return rows[np.argsort(margins(probabilities[rows]), kind="stable")]


def density(features: Floats, neighbours: int = NEIGHBOURS) -> Floats:
    """Return the mean cosine of each row to its nearest neighbours (N,), at least 0.

    It says how typical a row is, like the typicality of TypiClust (Hacohen, Dekel, Weinshall:
    Active Learning on a Budget, ICML 2022), which is the inverse of the mean Euclidean distance.
    """
    k = min(neighbours, len(features) - 1)
    result = np.ones(len(features), np.float32)
    for start in range(0, len(features) if k else 0, _BLOCK):
        cosines = features[start : start + _BLOCK] @ features.T
        here = np.arange(len(cosines))
        cosines[here, start + here] = -np.inf  # a row is not its own neighbour
        nearest = np.partition(cosines, -k, axis=1)[:, -k:]
        result[start : start + _BLOCK] = np.maximum(nearest.mean(1), 0)
    return result


def closeness(features: Floats, rows: Rows, to: Rows) -> Floats:
    """Return the cosine of each of `rows` to the nearest row in `to` (len(rows),); -1 if empty."""
    result = np.full(len(rows), -1, np.float32)
    for start in range(0, len(rows) if len(to) else 0, _BLOCK):
        part = rows[start : start + _BLOCK]
        result[start : start + _BLOCK] = (features[part] @ features[to].T).max(1)
    return result


def spread(features: Floats, worth: Floats, rows: Rows, near: Floats, count: int) -> Rows:
    """Order rows so that the first ones have a high worth and are far from each other.

    They are chosen greedily: the next one has the highest worth times one minus the cosine to the
    nearest row that is labelled or was chosen before.

    Args:
        features: (N, C).
        worth: (len(rows),), at least 0.
        rows: The rows to order.
        near: (len(rows),), the cosine of each to the nearest labelled row.
        count: How many are chosen like this; the others follow by worth alone.
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
    """Order the rows of look-alikes by group: more different labels first, then larger groups.

    `labels` (N,) are class indices, -1 for none.
    """

    def by_labels_and_size(group: Sequence[int]) -> tuple[int, int]:
        different = {int(label) for label in labels[list(group)]} - {-1}
        return -len(different), -len(group)

    ordered = sorted(groups, key=by_labels_and_size)
    return np.array([row for group in ordered for row in group], dtype=np.int64)


def alternate(first: Rows, second: Rows) -> Rows:
    """Merge two orders by taking a row of each in turn; a row of both keeps its first place."""
    both = [int(row) for pair in zip(first, second, strict=False) for row in pair]
    longer = first if len(first) > len(second) else second
    both += longer[min(len(first), len(second)) :].tolist()
    return np.array(list(dict.fromkeys(both)), dtype=np.int64)
