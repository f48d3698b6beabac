"""The orders of photos, by value: no network, no head."""

import numpy as np
import pytest

from pets.labelling.queue import (
    alternate,
    closeness,
    density,
    in_groups,
    least_sure,
    margins,
    spread,
)


def directions(*degrees: float) -> np.ndarray:
    """Features of unit length on a circle."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_least_sure_are_those_with_two_classes_as_likely() -> None:
    probabilities = np.array(
        [[0.6, 0.3, 0.1], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [1.0, 0.0, 0.0]], np.float32
    )
    assert margins(probabilities) == pytest.approx([0.3, 0.0, 0.1, 1.0])
    assert least_sure(probabilities, np.array([3, 0, 1, 2])).tolist() == [1, 2, 0, 3]
    # Of equal ones, the first stays the first.
    assert least_sure(probabilities[[1, 1, 1]], np.arange(3)).tolist() == [0, 1, 2]
    assert margins(np.ones((2, 1), np.float32)).tolist() == [1, 1]


def test_a_photo_with_near_neighbours_is_typical() -> None:
    features = directions(0, 10, 20, 90)
    cosine = np.cos(np.radians([10, 20, 70, 80]))
    assert density(features, 2) == pytest.approx(
        [cosine[:2].mean(), cosine[0], cosine[:2].mean(), cosine[2:].mean()], abs=1e-6
    )
    assert density(features).argmax() == 2  # fewer photos than neighbours: all others are
    assert density(features[:1]).tolist() == [1]


def test_density_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = directions(*np.random.default_rng(0).uniform(0, 360, 50))
    whole = density(features, 5)
    rows, to = np.arange(30), np.arange(30, 50)
    near = closeness(features, rows, to)
    assert near == pytest.approx((features[rows] @ features[to].T).max(1))
    monkeypatch.setattr("pets.labelling.queue._BLOCK", 7)
    assert density(features, 5) == pytest.approx(whole, abs=1e-6)
    assert closeness(features, rows, to) == pytest.approx(near, abs=1e-6)
    assert closeness(features, rows, to[:0]).tolist() == [-1] * 30


def test_what_is_worth_most_comes_first_and_then_what_is_far_from_it() -> None:
    features = directions(0, 2, 90, 178)
    worth, rows = np.array([1.0, 0.9, 0.8, 0.1], np.float32), np.array([0, 1, 2, 3])
    nothing = np.full(4, -1, np.float32)
    # Row 1 is next to row 0: it is worth nothing once that is labelled.
    assert spread(features, worth, rows, nothing, 4).tolist() == [0, 2, 3, 1]
    # After one, by their worth alone.
    assert spread(features, worth, rows, nothing, 1).tolist() == [0, 1, 2, 3]
    # Row 0 is labelled already.
    near = closeness(features, rows[1:], rows[:1])
    assert spread(features, worth[1:], rows[1:], near, 3).tolist() == [2, 3, 1]
    assert spread(features, worth[:0], rows[:0], nothing[:0], 5).tolist() == []


def test_groups_with_several_labels_come_first_then_large_ones() -> None:
    labels = np.array([0, 0, 1, -1, 2, 2, 2, -1, 1])
    order = in_groups([[0, 1], [2, 3], [4, 5, 6], [7, 8, 0]], labels)
    assert order.tolist() == [7, 8, 0, 4, 5, 6, 0, 1, 2, 3]
    assert in_groups([], labels).tolist() == []


def test_two_orders_take_turns() -> None:
    first, second = np.array([5, 1, 2, 3]), np.array([1, 7])
    assert alternate(first, second).tolist() == [5, 1, 7, 2, 3]
    assert alternate(second, first).tolist() == [1, 5, 7, 2, 3]
    assert alternate(first, second[:0]).tolist() == [5, 1, 2, 3]
