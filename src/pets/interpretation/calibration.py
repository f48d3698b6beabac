"""Whether a probability means what it says: reliability, its error, and a temperature.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from pets.interpretation.rows import Floats, Mask, Rows


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over the confidence in the predicted class, those with photos only.

    `confidence` and `accuracy` are means over a bin's photos, `photos` their number. `ece` is the
    expected calibration error: the mean distance of the two, weighted by photos.
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    photos: Rows

    @property
    def ece(self) -> float:
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.photos).sum() / max(self.photos.sum(), 1))


def reliability(confidence: Floats, correct: Mask, bins: int = 15) -> Reliability:
    """Bin the probability of the predicted class (N,) against whether it was right (N,)."""
    edges = np.linspace(0, 1, bins + 1)
    # A confidence on an edge belongs to the bin below it, as in the paper.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    used = np.unique(place)
    inside = [place == one for one in used]
    return Reliability(
        edges=edges[used],
        confidence=np.array([confidence[rows].mean() for rows in inside]),
        accuracy=np.array([correct[rows].mean() for rows in inside]),
        photos=np.array([rows.sum() for rows in inside], dtype=np.int64),
    )


def at_temperature(log_probabilities: Floats, temperature: float) -> Floats:
    """Log-probabilities (N, classes) as they are when the logits are divided by `temperature`."""
    return log_softmax(log_probabilities / temperature, axis=1)


def fit_temperature(log_probabilities: Floats, labels: Rows) -> float:
    """The temperature, 0.05 to 20, at which the labels are most probable.

    Above 1 the model is too sure of itself. 1 where there are no photos.
    """
    if not len(labels):
        return 1.0

    def loss(log_t: float) -> float:
        scaled = at_temperature(log_probabilities, float(np.exp(log_t)))
        return float(-scaled[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))
