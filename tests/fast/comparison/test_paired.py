"""The statistics of two runs on the same photos, against known flips."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest, multinomial

from pets.comparison.paired import Paired, adjusted, by_class, fewest_flips


def paired(both: int, only_old: int, only_new: int, neither: int = 0) -> Paired:
    """From photos in an order of no meaning."""
    old = [True] * (both + only_old) + [False] * (only_new + neither)
    new = [True] * both + [False] * only_old + [True] * only_new + [False] * neither
    order = np.random.default_rng(0).permutation(len(old))
    return Paired.of(np.array(old)[order], np.array(new)[order])


def test_photos_are_counted_by_which_run_is_right() -> None:
    it = paired(100, 3, 11, 5)
    assert it == Paired(119, 100, 3, 11)
    assert (it.neither, it.flipped) == (5, 14)
    assert (it.old, it.new) == (103 / 119, 111 / 119)
    assert it.difference == pytest.approx(8 / 119)
    assert it.difference == pytest.approx(it.new - it.old)


@pytest.mark.parametrize(
    ("lost", "won"), [(0, 1), (0, 5), (0, 6), (3, 11), (11, 3), (4, 4), (20, 60), (7, 16)]
)
def test_the_p_value_is_the_exact_mcnemar_test(lost: int, won: int) -> None:
    p = paired(50, lost, won, 8).p
    assert p == pytest.approx(binomtest(won, lost + won, 0.5).pvalue)
    # By hand: twice the tail of the binomial distribution with one half.
    flips, fewer = lost + won, min(lost, won)
    tail = sum(comb(flips, k) for k in range(fewer + 1)) / 2**flips
    assert p == pytest.approx(min(2 * tail, 1))
    # Photos that both runs get right or wrong say nothing about which is better.
    assert paired(0, lost, won).p == p


def test_known_values() -> None:
    assert paired(90, 1, 9).p == pytest.approx(22 / 1024)
    assert paired(90, 1, 9).significant
    assert paired(90, 2, 8).p == pytest.approx(112 / 1024)
    assert not paired(90, 2, 8).significant
    assert paired(90, 0, 0).p == 1


def test_fewer_than_six_flips_are_never_more_than_chance() -> None:
    assert fewest_flips() == 6
    assert not paired(1000, 0, 5).significant
    assert paired(1000, 0, 6).significant


def test_the_interval_is_that_of_bonett_and_price() -> None:
    # p12 = 2/52, p21 = 9/52 of 50 photos with 1 and 8 flips, one added to each.
    low, high = paired(35, 1, 8, 6).interval
    centre, error = 7 / 52, np.sqrt((11 / 52 - (7 / 52) ** 2) / 52)
    assert (low, high) == pytest.approx((centre - 1.959964 * error, centre + 1.959964 * error))
    wider = paired(35, 1, 8, 6).interval_at(0.99)
    assert wider == pytest.approx((centre - 2.575829 * error, centre + 2.575829 * error))
    # It turns with the runs, and has a width where nothing flipped.
    assert paired(35, 8, 1, 6).interval == pytest.approx((-high, -low))
    low, high = paired(50, 0, 0).interval
    assert low == pytest.approx(-high)
    assert 0.02 < high < 0.1
    assert -1 <= paired(0, 1, 0).interval[0] < paired(0, 1, 0).interval[1] <= 1


@pytest.mark.parametrize(
    ("photos", "lost", "won"), [(50, 0.02, 0.1), (119, 0.03, 0.03), (119, 0.01, 0.06)]
)
def test_the_interval_holds_the_difference_in_95_of_100_samples(
    photos: int, lost: float, won: float
) -> None:
    """Exactly: the probability of all samples whose interval holds the true difference."""
    counts = [(a, b) for a in range(photos + 1) for b in range(photos + 1 - a)]
    counts = [(a, b) for a, b in counts if a < 30 and b < 40]
    chances = multinomial.pmf(
        [(a, b, photos - a - b) for a, b in counts], photos, [lost, won, 1 - lost - won]
    )
    assert chances.sum() > 0.999
    held = [
        low <= won - lost <= high
        for low, high in (Paired(photos, photos - a - b, a, b).interval for a, b in counts)
    ]
    assert 0.93 < chances[held].sum() < 0.99


def test_classes_are_counted_alone_and_those_without_photos_left_out() -> None:
    labels = np.array([0, 0, 0, 2, 2, 2, 2])
    old = np.array([True, True, False, True, False, False, False])
    new = np.array([True, False, False, True, True, True, False])
    found = by_class(labels, ["cat", "dog", "newt"], old, new)
    assert found == {"cat": Paired(3, 1, 1, 0), "newt": Paired(4, 1, 0, 2)}


def test_p_values_of_many_classes_are_adjusted() -> None:
    classes = {f"c{i}": paired(20, 4, 4) for i in range(18)}
    classes |= {"real": paired(20, 0, 14), "chance": paired(20, 0, 6)}
    found = adjusted(classes)
    assert classes["chance"].significant
    assert found["chance"] == pytest.approx(20 / 2 * 2 / 2**6)
    assert found["real"] == pytest.approx(20 * 2 / 2**14)
    assert found["c0"] == 1


@pytest.mark.parametrize(
    ("lost", "won", "fails"),
    [
        (0, 9, set()),
        (4, 4, set()),
        (4, 3, {"worse"}),
        (6, 0, {"worse", "significant"}),
    ],
)
def test_fail_on_says_how_much_worse_fails(lost: int, won: int, fails: set[str]) -> None:
    it = paired(100, lost, won)
    assert {word for word in ("worse", "significant", "never") if it.fails(word)} == fails
