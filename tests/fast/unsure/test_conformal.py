"""Sets of classes keep the coverage that they promise, on scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom

from pets.unsure.conformal import (
    Reached,
    TooFewPhotosError,
    fit_thresholds,
    least_probability,
    measure,
    measure_halves,
    photos_needed,
    sets_of,
)


def planted(
    photos: int, seed: int, classes: int = 6, sharp: float = 2.0, hard: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of an overconfident network, and labels; the first `hard` classes are guessed
    more often than recognised."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, photos)
    strength = np.where(labels < hard, 0.5, sharp)
    logits = random.normal(size=(photos, classes))
    logits[np.arange(photos), labels] += strength
    scaled = np.exp(1.7 * logits)
    return scaled / scaled.sum(1, keepdims=True), labels


def test_the_threshold_is_the_photo_that_the_promise_allows_outside() -> None:
    of_labels = np.arange(1, 100) / 100  # of 99 photos, 5 of the next 100 may be below
    assert least_probability(of_labels, 0.95) == pytest.approx(0.05, rel=2e-3)
    assert least_probability(of_labels, 0.95) < 0.05
    assert least_probability(of_labels, 0.9) == pytest.approx(0.10, rel=2e-3)
    assert least_probability(of_labels, 0.99) == pytest.approx(0.01, rel=2e-3)


@pytest.mark.parametrize(("coverage", "needed"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.5, 1)])
def test_fewer_photos_cannot_promise_a_coverage(coverage: float, needed: int) -> None:
    assert photos_needed(coverage) == needed
    least_probability(np.full(needed, 0.5), coverage)
    with pytest.raises(TooFewPhotosError, match=f"{needed - 1} photos, and {needed} are needed"):
        least_probability(np.full(needed - 1, 0.5), coverage)


def test_a_set_has_what_is_probable_enough_and_always_the_best_class() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, 0.1, 0.7], [0.34, 0.33, 0.33]])
    least = np.array([0.4, 0.3, 0.8])
    assert sets_of(probabilities, least).tolist() == [
        [True, True, False],
        [False, False, True],  # below its threshold, but the best
        [True, True, False],
    ]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_over_20_splits_is_what_chance_allows(coverage: float) -> None:
    """With one threshold, the number of covered photos is a beta-binomial draw: of 20 splits at
    most two lie outside its central 99 %, and the mean within three standard errors, or above:
    the best class is always in a set."""
    covered = []
    for seed in range(20):
        probabilities, labels = planted(700, seed, sharp=1.0)
        of_labels = probabilities[np.arange(300), labels[:300]]
        least = np.full(6, least_probability(of_labels, coverage))
        found = measure(probabilities[300:], labels[300:], least, coverage, 300)
        assert found.photos == 400
        covered.append(found.covered)
    outside = np.floor(301 * (1 - coverage) + 1e-9)
    law = betabinom(400, 301 - outside, outside)
    low, high = law.interval(0.99)
    assert sum(not low <= count <= high for count in covered) <= 2
    error = law.std() / np.sqrt(20)
    assert law.mean() - 3 * error <= np.mean(covered) <= law.mean() + 3 * error + 4


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_thresholds_of_classes_keep_the_promise_over_20_splits(coverage: float) -> None:
    found = []
    for seed in range(20):
        probabilities, labels = planted(700, seed, sharp=1.0)
        least = fit_thresholds(probabilities[:300], labels[:300], coverage).least
        found.append(measure(probabilities[300:], labels[300:], least, coverage, 300))
    assert sum(one.is_kept for one in found) >= 18
    assert coverage - 0.01 <= np.mean([one.coverage for one in found]) <= coverage + 0.04


def test_a_class_with_photos_enough_keeps_the_promise_on_its_own() -> None:
    probabilities, labels = planted(24000, 0, hard=1)
    fitted, other = slice(0, 12000), slice(12000, None)
    own = fit_thresholds(probabilities[fitted], labels[fitted], 0.9)
    assert own.own.all()
    hard = labels[other] == 0
    covered = sets_of(probabilities[other], own.least)[np.arange(12000), labels[other]]
    assert 0.87 <= covered[hard].mean() <= 0.93
    # One threshold for all classes would not: the easy ones pay for the hard one.
    pooled = least_probability(probabilities[fitted][np.arange(12000), labels[fitted]], 0.9)
    covered = sets_of(probabilities[other], np.full(6, pooled))[np.arange(12000), labels[other]]
    assert covered[hard].mean() < 0.8
    assert covered.mean() > 0.89


def test_rare_classes_share_a_threshold_or_all_do() -> None:
    probabilities, labels = planted(600, 1)
    labels[labels == 5] = 0
    labels[:30] = 5
    mixed = fit_thresholds(probabilities, labels, 0.95)
    assert mixed.own.tolist() == [True] * 5 + [False]
    alone = least_probability(probabilities[:30, 5], 0.95)
    assert mixed.least[5] == alone  # 30 photos are enough for one class that is left
    labels[:30] = 0
    labels[:10] = 5
    pooled = fit_thresholds(probabilities, labels, 0.95)
    assert not pooled.own.any()
    assert len(set(pooled.least)) == 1


def test_other_photos_are_not_promised_anything_and_that_is_noticed() -> None:
    """Photos that the network knows less of: they are not exchangeable with the validation
    photos."""
    probabilities, labels = planted(500, 2)
    least = fit_thresholds(probabilities, labels, 0.95).least
    same = measure(*planted(500, 3), least, 0.95, 500)
    other = measure(*planted(500, 4, sharp=0.6), least, 0.95, 500)
    assert same.is_kept
    assert same.coverage > 0.93
    assert other.coverage < 0.9
    assert not other.is_kept


def test_two_classes_and_one_photo_of_each() -> None:
    probabilities, labels = planted(100, 5, classes=2)
    least = fit_thresholds(probabilities, labels, 0.95).least
    assert measure(probabilities, labels, least, 0.95, 100).coverage >= 0.95
    with pytest.raises(TooFewPhotosError, match="2 photos, and 19 are needed"):
        fit_thresholds(np.eye(2), np.arange(2), 0.95)


def test_without_other_photos_halves_are_measured() -> None:
    probabilities, labels = planted(200, 6)
    reached = measure_halves(probabilities, labels, 0.9)
    assert (reached.photos, reached.calibrated) == (100, 100)
    assert 0.85 <= reached.coverage <= 0.97
    assert 1 <= reached.size <= 6
    assert reached == measure_halves(probabilities, labels, 0.9)
    with pytest.raises(TooFewPhotosError):
        measure_halves(probabilities[:30], labels[:30], 0.95)


def test_a_promise_is_kept_within_what_both_samples_allow() -> None:
    def reached(covered: int, photos: int = 100, calibrated: int = 100) -> Reached:
        return Reached(0.95, photos, covered, 50, 1.5, calibrated)

    assert reached(95).is_kept
    assert reached(89).is_kept  # 95 % less two deviations of 3.1 points
    assert not reached(88).is_kept
    assert not reached(920, photos=1000, calibrated=1000).is_kept
