"""Photos of other things are far from the typical features of every class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pets.unsure.conformal import TooFewPhotosError
from pets.unsure.novelty import Typical, fit_typical, limit_of
from pets.unsure.rule import Unsure

CLASSES, FEATURES = 5, 120


def photos(count: int, seed: int, classes: range = range(CLASSES)) -> tuple[np.ndarray, np.ndarray]:
    """Features of planted classes: they differ in 8 directions, and vary in 40 of 120."""
    random = np.random.default_rng(99)
    centers = np.zeros((10, FEATURES))
    centers[:, :8] = random.normal(size=(10, 8)) * 2
    base = np.abs(random.normal(size=FEATURES))
    random = np.random.default_rng(seed)
    labels = np.resize(np.array(classes), count)
    noise = np.zeros((count, FEATURES))
    noise[:, :40] = random.normal(size=(count, 40)) * np.linspace(0.8, 0.1, 40)
    return base + centers[labels] + noise, labels


def other_things(count: int, seed: int) -> np.ndarray:
    """Which vary where photos of the classes do not."""
    features, _ = photos(count, seed)
    features[:, 60:] += np.random.default_rng(seed).normal(size=(count, 60)) * 0.4
    return features


def rule(typical: Typical, limit: float = 1.0) -> Unsure:
    names = [str(number) for number in range(CLASSES)]
    return Unsure(names, [None] * CLASSES, np.full(CLASSES, 0.5), limit, **vars(typical))


@pytest.fixture(scope="module")
def fitted() -> Unsure:
    return rule(fit_typical(*photos(400, 0), CLASSES))


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    truth = np.r_[np.zeros(len(known)), np.ones(len(unknown))]
    return float(roc_auc_score(truth, np.r_[known, unknown]))


def test_planted_novelties_are_told_apart(fitted: Unsure) -> None:
    known = fitted.distances(photos(300, 1)[0])
    held_out_classes = fitted.distances(photos(300, 2, range(5, 10))[0])
    assert auroc(known, held_out_classes) > 0.97
    assert auroc(known, fitted.distances(other_things(300, 3))) > 0.97
    assert auroc(known, fitted.distances(photos(300, 4)[0])) == pytest.approx(0.5, abs=0.06)


def test_the_length_of_features_does_not_matter(fitted: Unsure) -> None:
    features, _ = photos(20, 5)
    assert np.allclose(fitted.distances(features), fitted.distances(3.5 * features))


def test_false_alarms_are_as_rare_as_promised(fitted: Unsure) -> None:
    limit = limit_of(fitted.distances(photos(400, 6)[0]), 0.05)
    alarms = [(fitted.distances(photos(400, seed)[0]) >= limit).mean() for seed in range(10, 30)]
    assert 0.02 <= np.mean(alarms) <= 0.08
    assert (fitted.distances(other_things(200, 7)) >= limit).mean() > 0.85


def test_it_is_a_distance_of_mahalanobis_where_all_directions_are_kept() -> None:
    features, labels = photos(400, 0)
    features = features[:, :6]
    found = rule(fit_typical(features, labels, CLASSES, most=100))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert found.directions.shape == (5, 6)  # one is across
    assert np.allclose(found.directions @ found.directions.T, np.eye(5), atol=1e-5)
    means = np.stack([unit[labels == c].mean(0) for c in range(CLASSES)])
    inside = (unit - found.center) @ found.directions.T
    mean_inside = (means - found.center) @ found.directions.T
    assert np.allclose(found.means, mean_inside, atol=1e-5)
    squares = ((inside[:, None] - mean_inside) ** 2 / found.variances).sum(2).min(1)
    outside = ((unit - found.center) ** 2).sum(1) - (inside**2).sum(1)
    assert np.allclose(found.distances(features), squares + outside / found.rest, rtol=1e-4)


@pytest.mark.parametrize("count", [CLASSES, 12, 60])
def test_few_photos_give_finite_numbers(count: int) -> None:
    """One photo a class: nothing varies within it."""
    typical = fit_typical(*photos(count, 0), CLASSES)
    assert all(np.isfinite(value).all() for value in vars(typical).values())
    assert (typical.variances > 0).all()
    distances = rule(typical).distances(photos(50, 1)[0])
    assert np.isfinite(distances).all()
    assert (distances >= 0).all()


def test_few_photos_cannot_promise_few_false_alarms() -> None:
    assert limit_of(np.arange(19.0), 0.05) == pytest.approx(18, rel=2e-3)
    assert limit_of(np.arange(19.0), 0.05) > 18
    assert limit_of(np.zeros(19), 0.05) > 0  # distances are divided by it
    with pytest.raises(TooFewPhotosError, match="18 photos, and 19 are needed"):
        limit_of(np.arange(18.0), 0.05)
