"""Whether a probability means what it says: reliability, its error, and a temperature.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from pets.interpretation.interpretation import Floats, Rows


@dataclass(frozen=True)
class Reliability:
    """Bins over the confidence in the predicted class that have photos: mean confidence, share
    predicted right, and number of photos of each."""

    confidence: Floats
    accuracy: Floats
    photos: Rows

    @property
    def ece(self) -> float:
        """The expected calibration error: the mean distance of confidence and accuracy, weighted
        by photos."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.photos).sum() / max(self.photos.sum(), 1))


def reliability(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> Reliability:
    """Bin the probability of the predicted class (N,) against whether it was right (N,)."""
    # A confidence on an edge belongs to the bin below it, as in the paper.
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    inside = [index == one for one in np.unique(index)]
    return Reliability(
        confidence=np.array([confidence[rows].mean() for rows in inside]),
        accuracy=np.array([correct[rows].mean() for rows in inside]),
        photos=np.array([rows.sum() for rows in inside], dtype=np.int64),
    )


def at_temperature(log_probabilities: Floats, temperature: float) -> Floats:
    """Log-probabilities (N, classes) as they are when the logits are divided by `temperature`."""
    return log_softmax(log_probabilities / temperature, axis=1)


def fit_temperature(log_probabilities: Floats, labels: Rows) -> float:
    """The temperature, 0.05 to 20, at which the labels are most probable; 1 without photos.

    Above 1 the model is too sure of itself.
    """
    if not len(labels):
        return 1.0

    def loss(log_t: float) -> float:
        scaled = at_temperature(log_probabilities, float(np.exp(log_t)))
        return float(-scaled[np.arange(len(labels)), labels].mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))
