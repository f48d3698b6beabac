"""Says which classes a photo may show, and whether it shows none of them: a few numbers, applied.

It needs only numpy: exports have a copy of this file, `unsure.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

_SHOWN = 5  # classes of a set in words


class Unsure:
    """A rule for photos, made of plain values.

    Args:
        classes: Names of the classes.
        superclasses: The group of each class, or None.
        least: A class is in a photo's set from this probability on; for each class.
        limit: The distance from which on a photo is none of these.
        center: (C,), with `directions` (k, C), `variances` (k,), `means` (classes, k) and `rest`:
            the typical features of each class.
    """

    def __init__(
        self, classes: list[str], superclasses: list[str | None], least: Any, limit: float,
        center: Any, directions: Any, variances: Any, means: Any, rest: float,
    ) -> None:  # fmt: skip
        self.classes, self.superclasses = classes, superclasses
        self.least, self.center, self.directions, self.variances, self.means = (
            np.asarray(value, np.float64) for value in (least, center, directions, variances, means)
        )
        self.limit, self.rest = limit, rest

    @classmethod
    def load(cls, folder: Path) -> "Unsure | None":
        """Read `unsure.json` and `unsure.npz` of an export; None if it was made without them."""
        file = folder / "unsure.json"
        if not file.exists():
            return None
        numbers = json.loads(file.read_text(encoding="utf-8"))
        with np.load(folder / "unsure.npz") as tensors:
            return cls(**numbers["rule"], **tensors)

    def distances(self, features: Any) -> Any:
        """Return how far pooled features (N, C) are from the nearest class, 1 being the limit.

        A Mahalanobis distance of normalised features: along `directions` in units of the spread
        within the classes, and across them in units of what is left.
        """
        unit = np.asarray(features, np.float64)
        unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12) - self.center
        inside = unit @ self.directions.T
        outside = np.maximum((unit**2).sum(1) - (inside**2).sum(1), 0) / self.rest
        scale = np.sqrt(self.variances)
        scaled, means = inside / scale, self.means / scale
        squares = (scaled**2).sum(1)[:, None] - 2 * scaled @ means.T + (means**2).sum(1)
        return (outside + np.maximum(squares.min(1), 0)) / self.limit

    def __call__(self, probabilities: Any, distances: Any) -> list[dict[str, Any]]:
        """Judge photos by their probabilities (N, classes) and distances (N,).

        Returns for each photo its `set` of classes, the most probable first; the `superclass` of
        all of these, if they have one; `none_of_these`, the distance, from 1 on too far from all
        classes; and whether that or a set of several classes makes it `unsure`.
        """
        found = []
        for row, distance in zip(np.asarray(probabilities), np.asarray(distances), strict=True):
            order = np.argsort(-row, kind="stable")
            inside = [i for i in order if row[i] >= self.least[i] or i == order[0]]
            groups = {self.superclasses[i] for i in inside}
            found.append(
                {
                    "set": [self.classes[i] for i in inside],
                    "superclass": groups.pop() if len(groups) == 1 else None,
                    "none_of_these": float(distance),
                    "unsure": len(inside) > 1 or bool(distance >= 1),
                }
            )
        return found

    @staticmethod
    def in_words(judged: dict[str, Any]) -> str:
        """Return one photo's judgement as text; "" if it is sure."""
        if judged["none_of_these"] >= 1:
            return "none of these"
        if not judged["unsure"]:
            return ""
        names, more = " or ".join(judged["set"][:_SHOWN]), len(judged["set"]) - _SHOWN
        names, group = names + (f" or {more} more" if more > 0 else ""), judged["superclass"]
        return f"{group}, unsure which: {names}" if group else f"unsure: {names}"
