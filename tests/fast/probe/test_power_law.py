"""Power laws through errors: a planted one is found, its interval holds, a flat one is flat."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pets.probe.forecast import (
    FARTHEST,
    Curve,
    Forecast,
    contains_zero,
    forecast,
    forecast_all,
    nested_subsets,
    verdict,
)
from pets.probe.power_law import Law, fit, hold_out, interval, resample

SIZES = np.round(np.geomspace(90, 890, 8))


def planted(
    a: float, b: float, c: float, photos: int, rng: np.random.Generator, seeds: int = 10
) -> np.ndarray:
    """Wrong photos (sizes, seeds, photos) whose expected error is the law's. A photo that is easy
    is easy at most sizes, and sets of training photos differ by 6 % of the error."""
    errors, own = a * SIZES**-b + c, rng.random(photos)
    wrong = np.empty((len(SIZES), seeds, photos))
    for size, error in enumerate(errors):
        for seed in range(seeds):
            luck = rng.normal(0, 0.06 * error)
            draws = np.where(rng.random(photos) < 0.3, rng.random(photos), own)
            wrong[size, seed] = draws < error + luck
    wrong[-1] = wrong[-1, :1]  # of all photos there is one set
    return wrong


@pytest.mark.parametrize(("a", "b", "c"), [(2, 0.5, 0.05), (1, 0.3, 0.0), (5, 0.8, 0.08)])
def test_a_law_without_noise_is_found(a: float, b: float, c: float) -> None:
    law = fit(SIZES, (a * SIZES**-b + c)[None])
    # The power to the next value of the grid, which the other two parameters make up for.
    assert law.b[0] == pytest.approx(b, rel=0.02)
    assert law(2 * SIZES[-1])[0] == pytest.approx(a * (2 * SIZES[-1]) ** -b + c, abs=4e-4)


def test_the_offset_is_never_negative_and_the_error_a_share() -> None:
    # A straight line that reaches 0: no offset above 0 would fit as well.
    falling = (0.5 - 0.0005 * SIZES)[None]
    law = fit(SIZES, falling)
    assert law.c[0] == 0
    huge = Law(np.array([9.0]), np.array([0.5]), np.array([0.0]))
    assert huge(1)[0] == 1


def test_a_rising_curve_is_not_taken_for_a_falling_one() -> None:
    law = fit(SIZES, (0.1 + 0.0001 * SIZES)[None])
    assert law(2 * SIZES[-1])[0] > law(SIZES[-1])[0]


def test_the_intervals_hold_for_planted_laws() -> None:
    """The true change of twice the photos is in 95 % of the intervals; here of 40 data sets."""
    rng = np.random.default_rng(1)
    a, b, c = 2, 0.5, 0.05
    true = a * (2 * SIZES[-1]) ** -b - a * SIZES[-1] ** -b
    found = [forecast("", SIZES.astype(int), planted(a, b, c, 300, rng), None, rng)
             for _ in range(40)]  # fmt: skip
    assert sum(one.low <= true <= one.high for one in found) >= 35
    checks = [check.inside for one in found for check in one.checks]
    assert len(checks) == 80
    assert sum(checks) >= 72
    assert sum(not one.doubt for one in found) >= 30  # enough photos to tell
    assert np.mean([one.change for one in found]) == pytest.approx(true, abs=0.003)


def test_a_flat_curve_cannot_be_told() -> None:
    rng = np.random.default_rng(2)
    found = [forecast("", SIZES.astype(int), planted(0, 0.5, 0.1, 300, rng), None, rng)
             for _ in range(40)]  # fmt: skip
    assert sum(one.doubt == "its interval contains zero" for one in found) >= 36


def test_an_interval_contains_zero_as_it_is_printed() -> None:
    assert contains_zero(-0.0324, -7.2e-06)
    assert contains_zero(-0.01, 0.02)
    assert not contains_zero(-0.0324, -0.0006)
    assert not contains_zero(0.0006, 0.01)


def test_a_law_that_breaks_fails_the_check() -> None:
    """A curve that falls as a law and then not at all: the held-out sizes lie above."""
    rng = np.random.default_rng(3)
    wrong = planted(3, 0.6, 0.0, 2000, rng)
    wrong[-2:] = wrong[3]
    one = forecast("", SIZES.astype(int), wrong, None, rng)
    assert [check.inside for check in one.checks] == [False, False]
    assert one.doubt == "fitted without its largest sizes, the law misses 2 of 2"


def test_what_is_not_supported_is_not_told() -> None:
    rng = np.random.default_rng(4)
    wrong = planted(2, 0.5, 0.05, 300, rng)
    counts = SIZES.astype(int)
    far = forecast("pug", counts, wrong, 5000, rng)
    assert far.doubt.startswith(f"that is more than {FARTHEST:g} times the photos")
    few = forecast("pug", counts, wrong[:, :, :19], None, rng)
    assert (few.doubt, few.law, few.checks) == ("19 validation photos are too few", None, ())
    none = forecast("pug", counts, wrong[:, :, :0], None, rng)
    assert none.doubt == "0 validation photos are too few"
    assert np.isnan(none.now)
    scarce = forecast("pug", [1, 1, 1, 1, 2, 2, 3, 4], wrong, None, rng)
    assert scarce.doubt == "4 training photos are too few"


def test_the_bootstrap_draws_photos_and_seeds() -> None:
    wrong = np.zeros((2, 3, 4))
    wrong[1, 0] = 1  # one seed is always wrong at the larger size
    wrong[:, :, 0] = 1  # one photo always
    draws = resample(wrong, np.random.default_rng(0), draws=4000)
    assert draws.shape == (4001, 2)
    assert draws[0] == pytest.approx([1 / 4, 1 / 3 + 2 / 3 / 4])
    # Of a photo's share: binomial with 4 draws of 1/4; the same draw at both sizes.
    assert draws[1:, 0].std() == pytest.approx(np.sqrt(1 / 4 * 3 / 4 / 4), rel=0.05)
    assert draws[1:].mean(0) == pytest.approx(draws[0], abs=0.01)
    assert (draws[1:, 1] >= draws[1:, 0] - 1e-12).all()


def test_an_interval_of_few_seeds_is_wider() -> None:
    draws = np.random.default_rng(0).normal(2, 1, 20_000)
    low, high = interval(draws, 5)
    # 2.776 is Student's t of four degrees of freedom.
    assert (high - low) / 2 == pytest.approx(2.776 * np.sqrt(5 / 4), rel=0.03)
    assert (low + high) / 2 == pytest.approx(2, abs=0.1)
    # Of ten that hold together each is one of 99.5 %.
    low, high = interval(draws, 5, among=10)
    assert (high - low) / 2 == pytest.approx(5.598 * np.sqrt(5 / 4), rel=0.03)


def test_the_luck_of_the_one_largest_set_is_in_its_check() -> None:
    rng = np.random.default_rng(5)
    draws = resample(planted(2, 0.5, 0.05, 500, rng), rng)
    silent, loud = (hold_out(SIZES, draws, 2, rng.normal(0, sd, 1000), 10) for sd in (1e-9, 0.05))
    assert silent[0] == loud[0]
    assert loud[1].high - loud[1].low > 3 * (silent[1].high - silent[1].low)


def test_subsets_are_nested_stratified_and_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [40, 20, 3])
    subsets = nested_subsets(labels, (0.1, 0.11, 0.25, 0.5, 1.0), np.random.default_rng(0))
    counts = [np.bincount(labels[rows]).tolist() for rows in subsets]
    # 11 % adds no photo; of three photos a quarter is one and a half two.
    assert counts == [[4, 2, 1], [10, 5, 1], [20, 10, 2], [40, 20, 3]]
    for smaller, larger in pairwise(subsets):
        assert set(smaller) < set(larger)
    other = nested_subsets(labels, (0.1, 0.5), np.random.default_rng(1))
    assert set(other[0]) != set(subsets[0])


def told(name: str, change: float, doubt: str = "") -> Forecast:
    """A forecast as it might come out."""
    counts, errors = SIZES, np.linspace(0.3, 0.1, 8)
    return Forecast(
        name, counts, errors, 40, 50, None, (), change, change - 0.003, change + 0.003, doubt
    )


def test_the_sentences_name_what_can_be_told() -> None:
    classes = (
        told("Birman", -0.008),
        told("pug", -0.02),
        told("Bengal", 0.0, "contains zero"),
        told("boxer", 0.0, "few"),
    )
    curve = Curve(told("", -0.012), classes, "lite0", 10, "photos")
    first, second, third, last = verdict(curve)
    assert first == (
        "50 more training photos would change the validation error, 10.0 % with 890, by -1.2 "
        "points (95 % interval -1.5 to -0.9)."
    )
    assert second.startswith(
        "50 more photos of pug: -2.0 points (95 % interval -2.3 to -1.7); 50 more photos of "
        "Birman: -0.8 points"
    )
    assert third == "It cannot be told for the other 2 classes; the table says why."
    assert "frozen lite0, 10 orders" in last
    nothing = Curve(told("", 0.0, "its interval contains zero"), classes[2:], "lite0", 10, "x")
    assert verdict(nothing)[:2] == [
        "What 50 more training photos would bring cannot be told: its interval contains zero.",
        "It cannot be told for any of the 2 classes; the table says why.",
    ]


def test_a_class_needs_more_validation_photos_than_all() -> None:
    rng = np.random.default_rng(6)
    train, valid = np.repeat([0, 1], 445), np.repeat([0, 1], [49, 50])
    subsets = nested_subsets(train, np.geomspace(0.1, 1, 8), rng)
    wrong = planted(2, 0.5, 0.05, 99, rng)
    whole, (few, enough) = forecast_all(["Birman", "pug"], train, valid, subsets, wrong, None, 0)
    assert few.doubt == "49 validation photos are too few"
    assert few.law is None
    assert enough.law is not None
    assert whole.law is not None
