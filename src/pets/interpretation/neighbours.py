"""The nearest photos in the backbone's feature space: a wrong label or a twin breed at a glance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pets.interpretation.rows import Floats, Rows


class Neighbours(NamedTuple):
    """Row numbers of the nearest photos (queries, k), and their cosine similarities."""

    rows: Rows
    similarity: Floats


def nearest(queries: Floats, photos: Floats, k: int, itself: Rows | None = None) -> Neighbours:
    """The `k` rows of `photos` (N, C) most alike to each of `queries` (Q, C), exactly.

    `itself` (Q,) is the row of `photos` that a query is, never its own neighbour; -1 where none is.
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
