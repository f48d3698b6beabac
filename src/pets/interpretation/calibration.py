"""Calibration: reliability diagram, expected calibration error (ECE), temperature scaling.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from pets.interpretation.interpretation import Floats, Rows, wilson


@dataclass(frozen=True)
class Reliability:
    """The non-empty bins of a reliability diagram.

    Each has a mean confidence, an accuracy and a number of photos.
    """

    confidence: Floats
    accuracy: Floats
    counts: Rows

    @property
    def intervals(self) -> Floats:
        """The 95 % interval (Wilson) of the accuracy of each bin, (bins, 2)."""
        right = np.rint(self.accuracy * self.counts).astype(int)
        pairs = zip(right.tolist(), self.counts.tolist(), strict=True)
        return np.array([wilson(*pair) for pair in pairs]).reshape(-1, 2)

    @property
    def ece(self) -> float:
        """The expected calibration error.

        It is the mean gap between confidence and accuracy, weighted by the number of photos.
        """
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.counts).sum() / max(self.counts.sum(), 1))


def reliability(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> Reliability:
    """Bin confidences (N,) in the predicted class, and whether it is correct (N,)."""
    # A confidence on an edge belongs to the lower bin, as in the paper.
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    inside = [index == one for one in np.unique(index)]
    return Reliability(
        confidence=np.array([confidence[rows].mean() for rows in inside]),
        accuracy=np.array([correct[rows].mean() for rows in inside]),
        counts=np.array([rows.sum() for rows in inside], dtype=np.int64),
    )


def at_temperature(log_probabilities: Floats, temperature: float) -> Floats:
    """Return the log-probabilities (N, classes) after dividing the logits by `temperature`."""
    return log_softmax(log_probabilities / temperature, axis=1)


def fit_temperature(log_probabilities: Floats, labels: Rows) -> float:
    """Return the temperature (0.05 to 20) with the lowest loss, or 1 without photos.

    Above 1, the model is overconfident.
    """
    if not len(labels):
        return 1.0

    def loss(log_t: float) -> float:
        scaled = at_temperature(log_probabilities, float(np.exp(log_t)))
        return float(-scaled[np.arange(len(labels)), labels].mean())

    result = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(result.x))
