"""ROC and precision-recall curves of each class against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from pets.interpretation.interpretation import Floats, Interpretation

ROC, PRECISION_RECALL = "roc", "precision_recall"
POOLED = ""  # the name of the curve over the decisions about all classes


@dataclass(frozen=True)
class Curve:
    """A curve over all thresholds of a probability, and the area under it.

    Attributes:
        name: The class; `POOLED` for the decisions about all classes together (micro average).
        x: False positive rate of an ROC curve, recall of a precision-recall curve.
        y: True positive rate (recall), or precision.
        thresholds: A class counts as predicted if its probability is at least this.
        area: The area under the curve; of a precision-recall curve the average precision.
    """

    name: str
    x: Floats
    y: Floats
    thresholds: Floats
    area: float


@dataclass(frozen=True)
class Threshold:
    """What a threshold does to the decisions about all classes; None without a decision."""

    threshold: float
    precision: float | None
    recall: float
    false_positives: float


def curves(predictions: Interpretation, kind: str) -> list[Curve]:
    """Return the pooled curve, then those of the classes that have photos, the worst first.

    Args:
        predictions: Of one split.
        kind: `ROC` or `PRECISION_RECALL`.
    """
    is_class = _is_class(predictions)
    by_class = [
        _curve(kind, name, is_class[:, i], predictions.probabilities[:, i])
        for i, name in enumerate(predictions.classes)
        if 0 < is_class[:, i].sum() < len(is_class)
    ]
    pooled = _curve(kind, POOLED, is_class.ravel(), predictions.probabilities.ravel())
    return [pooled, *sorted(by_class, key=lambda curve: curve.area)]


def at_thresholds(predictions: Interpretation, thresholds: Sequence[float]) -> list[Threshold]:
    """Return precision, recall and false positive rate over all classes at some thresholds."""
    is_class, rows = _is_class(predictions), []
    for threshold in thresholds:
        chosen = predictions.probabilities >= threshold
        right, wrong = int((chosen & is_class).sum()), int((chosen & ~is_class).sum())
        rows.append(
            Threshold(
                threshold,
                precision=right / (right + wrong) if right + wrong else None,
                recall=right / is_class.sum(),
                false_positives=wrong / max((~is_class).sum(), 1),
            )
        )
    return rows


def _is_class(predictions: Interpretation) -> NDArray[np.bool_]:
    """Whether a photo is of a class, (photos, classes)."""
    return predictions.labels[:, None] == np.arange(len(predictions.classes))


def _curve(kind: str, name: str, is_class: NDArray[np.bool_], probabilities: Floats) -> Curve:
    if kind == ROC:
        x, y, thresholds = roc_curve(is_class, probabilities)
        return Curve(name, x, y, thresholds, float(auc(x, y)))
    precision, recall, thresholds = precision_recall_curve(
        is_class, probabilities, drop_intermediate=True
    )
    area = float(average_precision_score(is_class, probabilities))
    # Its last point, recall 0, has no threshold.
    return Curve(name, recall, precision, np.append(thresholds, np.inf), area)
