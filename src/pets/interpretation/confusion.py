"""Who is taken for whom: counts, the pairs most confused, and an order that shows them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from pets.interpretation.rows import Rows

Matrix = NDArray[np.float64]


class Confused(NamedTuple):
    """`photos` photos of the class `actual` were taken for `predicted` (class indices)."""

    actual: int
    predicted: int
    photos: int


def confusion_matrix(
    labels: Rows, predictions: Rows, classes: int, normalize: bool = False
) -> Matrix:
    """Photos by actual class (row) and predicted class (column).

    With `normalize` the share of the row; a class without photos has a row of zeros.
    """
    matrix = np.zeros((classes, classes))
    np.add.at(matrix, (labels, predictions), 1)
    if normalize:
        matrix /= np.maximum(matrix.sum(1, keepdims=True), 1)
    return matrix


def most_confused(matrix: Matrix, min_val: int = 1) -> list[Confused]:
    """Pairs off the diagonal with at least `min_val` photos, the most frequent first."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    pairs = [
        Confused(int(a), int(p), int(wrong[a, p]))
        for a, p in zip(*np.nonzero(wrong >= max(min_val, 1)), strict=True)
    ]
    return sorted(pairs, key=lambda pair: -pair.photos)


def order_by_confusion(matrix: Matrix) -> list[int]:
    """Class indices such that classes taken for each other stand side by side.

    Average linkage over the share of confusions between two classes, with the best order of
    leaves (Bar-Joseph et al. 2001). Classes that are never confused keep their order, at the end.
    """
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    alike = shares + shares.T
    confused = np.flatnonzero(alike.any(1))
    if len(confused) < 3:
        return [*confused.tolist(), *(c for c in range(len(matrix)) if c not in set(confused))]
    near = alike[np.ix_(confused, confused)]
    distances = squareform(1 - near / near.max() * (1 - np.eye(len(near))), checks=False)
    tree = optimal_leaf_ordering(linkage(distances, "average"), distances)
    order = confused[leaves_list(tree)].tolist()
    return [*order, *(c for c in range(len(matrix)) if c not in set(order))]
