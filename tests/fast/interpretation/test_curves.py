"""ROC and precision-recall curves of a report are scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as sk

from pets.data.photos import Photo
from pets.interpretation.curves import PRECISION_RECALL, ROC, at_thresholds, curves
from pets.interpretation.interpretation import Interpretation

CLASSES = ["a", "b", "c", "nobody"]


@pytest.fixture(scope="module")
def predictions() -> Interpretation:
    """Of 300 photos of three of the four classes."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    logits = 1.5 * random.normal(size=(300, 4))
    logits[np.arange(300), labels] += np.array([2.0, 1.0, 0.2])[labels]
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    photos = [Photo(f"{i}.jpg", CLASSES[label], "test", "") for i, label in enumerate(labels)]
    return Interpretation.of_photos(photos, logs, CLASSES)


@pytest.mark.parametrize("kind", [ROC, PRECISION_RECALL])
def test_areas_are_those_of_scikit_learn(predictions: Interpretation, kind: str) -> None:
    pooled, *by_class = curves(predictions, kind)
    p, one_hot = predictions.probabilities, np.eye(4)[predictions.labels]
    area = sk.roc_auc_score if kind == ROC else sk.average_precision_score
    assert pooled.area == pytest.approx(area(one_hot, p, average="micro"))
    expected = {name: area(one_hot[:, i], p[:, i]) for i, name in enumerate("abc")}
    # The class without photos has no curve; the worst comes first.
    assert {curve.name: curve.area for curve in by_class} == pytest.approx(expected)
    assert [curve.name for curve in by_class] == sorted(expected, key=lambda name: expected[name])
    worst = CLASSES.index(by_class[0].name)
    if kind == ROC:
        x, y, thresholds = sk.roc_curve(one_hot[:, worst], p[:, worst])
    else:
        y, x, thresholds = sk.precision_recall_curve(
            one_hot[:, worst], p[:, worst], drop_intermediate=True
        )
    np.testing.assert_allclose(by_class[0].x, x)
    np.testing.assert_allclose(by_class[0].y, y)
    np.testing.assert_allclose(by_class[0].thresholds[: len(thresholds)], thresholds)


def test_the_table_of_thresholds(predictions: Interpretation) -> None:
    one_hot = np.eye(4)[predictions.labels].astype(bool).ravel()
    for row in at_thresholds(predictions, [0.1, 0.5, 0.9]):
        chosen = predictions.probabilities.ravel() >= row.threshold
        assert row.precision == pytest.approx(sk.precision_score(one_hot, chosen))
        assert row.recall == pytest.approx(sk.recall_score(one_hot, chosen))
        assert row.false_positives == pytest.approx(1 - sk.recall_score(~one_hot, ~chosen))
    (none,) = at_thresholds(predictions, [1.1])
    assert (none.precision, none.recall, none.false_positives) == (None, 0, 0)
