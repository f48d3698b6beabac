"""Suggestions on curves whose shape is known, and none on curves that support none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pets.config import FinderConfig
from pets.lr_finder.curve import Curve
from pets.lr_finder.range_test import RunningMean
from pets.lr_finder.suggestions import (
    METHODS,
    Array,
    NoSuggestion,
    minimum,
    slide,
    smooth,
    steep,
    valley,
)

STEPS = 100
LRS = np.logspace(-7, 1, STEPS)
LOG = np.log10(LRS)
SETTINGS = FinderConfig(start_lr=1e-7, end_lr=10.0, steps=STEPS, method=["valley", "slide"])


def fall(at: float = -3.0, width: float = 0.4, high: float = 3.6, low: float = 1.0) -> Array:
    """A smooth fall in the logarithm of the rate, steepest at 10 ** at."""
    return low + (high - low) / (1 + np.exp((LOG - at) / width))


def rise(at: float) -> Array:
    """Nothing, then an explosion that reaches 1 at 10 ** at."""
    return np.exp(np.minimum((LOG - at) / 0.3, 5))


def noise(seed: int, size: float) -> Array:
    return size * np.random.default_rng(seed).standard_normal(STEPS)


def test_valley_is_three_fifths_down_the_fall() -> None:
    losses = fall(at=-3.0, width=0.4)
    # A logistic curve has come 60 % of its way 0.4 * ln(0.6 / 0.4) decades beyond its middle.
    expected = -3.0 + 0.4 * math.log(0.6 / 0.4)
    assert np.log10(valley(LRS, losses)) == pytest.approx(expected, abs=0.03)


def test_steep_is_the_steepest_point_against_the_logarithm_of_the_rate() -> None:
    for at in (-4.0, -2.5):
        result = np.log10(steep(LRS, fall(at) + 0.1 * rise(at + 2.5)))
        assert result == pytest.approx(at, abs=0.09)


def test_minimum_is_a_tenth_of_the_lowest() -> None:
    losses = fall() + 0.2 * rise(-0.5)
    assert minimum(LRS, losses) == pytest.approx(LRS[smooth(losses).argmin()] / 10)
    assert np.log10(minimum(LRS, losses)) == pytest.approx(LOG[losses.argmin()] - 1, abs=0.17)


@pytest.mark.parametrize("at", [-4.0, -3.0, -2.0])
def test_slide_is_a_tenth_of_where_the_loss_has_doubled(at: float) -> None:
    flat_then_rising = 0.1 * (1 + rise(at))
    assert np.log10(slide(LRS, flat_then_rising)) == pytest.approx(at - 1, abs=0.2)
    noises = [np.exp(noise(seed, 0.5)) for seed in range(100)]
    result = [np.log10(slide(LRS, flat_then_rising * noisy)) for noisy in noises]
    assert np.median(result) == pytest.approx(at - 1, abs=0.15)
    off = np.abs(np.array(result) - (at - 1))
    assert np.quantile(off, 0.95) < 0.6
    assert off.max() < 1.2


def test_one_lucky_batch_is_no_floor() -> None:
    for at in (0, 20, 40):
        lucky = 0.45 * (1 + rise(-2))
        lucky[at] = 0.05
        assert np.log10(slide(LRS, lucky)) == pytest.approx(-3, abs=0.25)
        falling = fall()
        falling[at] = 0.3
        assert valley(LRS, falling) == pytest.approx(valley(LRS, fall()), rel=0.2)


def test_no_rate_is_suggested_that_was_not_tried() -> None:
    with pytest.raises(NoSuggestion, match=r"a tenth of that was not tried"):
        slide(LRS, 0.1 * (1 + rise(-6.5)))
    with pytest.raises(NoSuggestion, match=r"a tenth of that was not tried"):
        minimum(LRS, fall(at=-6.9, width=0.1) + 0.5 * rise(-5))


@pytest.mark.parametrize("size", [0.15, 0.4])
def test_valley_in_noise_stays_near_the_steepest_point(size: float) -> None:
    near = []
    for seed in range(100):
        at = np.random.default_rng(seed).uniform(-3.5, -2.0)
        losses = fall(at) + 0.1 * rise(at + 2.5) + noise(seed, size)
        near.append(abs(np.log10(valley(LRS, losses)) - at) < math.log10(3))
    assert np.mean(near) >= 0.95


def test_a_suggestion_depends_on_neither_the_scale_of_the_loss_nor_its_explosion() -> None:
    losses = fall() + 0.1 * rise(-0.5) + noise(1, 0.1)
    for method in (valley, steep, minimum, slide):
        assert method(LRS, 7 * losses) == pytest.approx(method(LRS, losses))
        # How far it explodes, and to what, is chance.
        exploded = losses.copy()
        exploded[LOG > 0.5] = 1e6
        assert method(LRS, exploded) == pytest.approx(method(LRS, losses), rel=0.02)


@pytest.mark.parametrize(
    ("losses", "why"),
    [
        (np.full(STEPS, 3.6), "the loss never falls between 1.0e-07 and 1.0e.01"),
        (3.6 + noise(0, 0.2), "the loss never falls"),
        (3.6 + 10 * rise(0), "the loss never falls"),
        (fall(at=1.0), "the loss still falls at 1.0e.01, where the curve ends"),
    ],
)
def test_a_curve_that_supports_no_suggestion_says_so(losses: Array, why: str) -> None:
    for method in (valley, steep, minimum):
        with pytest.raises(NoSuggestion, match=why):
            method(LRS, losses)


def test_slide_needs_a_rise_and_all_need_some_points() -> None:
    with pytest.raises(NoSuggestion, match=r"does not rise to twice its lowest before 1.0e.01"):
        slide(LRS, fall())
    for method in METHODS.values():
        with pytest.raises(NoSuggestion, match="9 usable points, expected at least 10"):
            method(LRS[:9], fall()[:9])


@pytest.mark.parametrize(
    "losses",
    [np.full(STEPS, 3.6), 3.6 + 10 * rise(0), 0.5 + rise(-3)],
    ids=["flat", "late", "early"],
)
def test_pure_noise_seldom_passes_for_a_fall(losses: Array) -> None:
    passed = 0
    for seed in range(100):
        try:
            valley(LRS, losses + noise(seed, 0.1))
            passed += 1
        except NoSuggestion:
            pass
    assert passed <= 5


def test_suggestions_leave_their_input_alone() -> None:
    lrs, losses = LRS.copy(), fall() + 0.1 * rise(-0.5)
    before = losses.copy()
    for method in METHODS.values():
        method(lrs, losses)
    assert (lrs == LRS).all()
    assert (losses == before).all()


def test_the_running_mean_is_debiased() -> None:
    mean = RunningMean(0.9)
    assert mean.update(5.0) == pytest.approx(5.0)
    assert mean.update(2.0) == pytest.approx((0.9 * 5 + 2) / 1.9)
    assert [RunningMean().update(3.0) for _ in range(3)] == pytest.approx([3.0] * 3)
    constant = RunningMean(0.98)
    assert [constant.update(4.0) for _ in range(50)] == pytest.approx([4.0] * 50)


def test_a_curve_skips_its_ends_and_takes_the_first_method_it_supports() -> None:
    curve = Curve(LRS, fall() + 0.1 * rise(-0.5), SETTINGS, "finished", 3200, 1.0)
    assert (curve.used.start, curve.used.stop) == (10, 95)
    assert curve.choose() == ("valley", valley(LRS[10:95], curve.losses[10:95]))
    trained = Curve(LRS, 0.1 * (1 + rise(-3.0)), SETTINGS, "finished", 3200, 1.0)
    assert trained.choose()[0] == "slide"
    flat = Curve(LRS, np.full(STEPS, 3.6), SETTINGS, "finished", 3200, 1.0)
    with pytest.raises(NoSuggestion, match=r"valley: the loss never falls.*slide: the loss does"):
        flat.choose()
    result = trained.as_json()
    assert len(result["points"]) == result["steps"] == STEPS
    assert result["points"][9]["smoothed"] is None
    assert result["points"][10]["smoothed"] == pytest.approx(0.1, rel=1e-3)
    assert result["suggestions"]["valley"] is None
    assert result["suggestions"]["slide"] == pytest.approx(1e-4, rel=0.5)
    assert result["no_suggestion"]["valley"].startswith("the loss never falls")


def test_slide_reads_the_explosion_to_its_end() -> None:
    """The last points disturb those that look for a fall, but say where it rises."""
    curve = Curve(LRS, 0.1 * (1 + rise(0.85)), SETTINGS, "finished", 3200, 1.0)
    assert np.log10(curve.suggest("slide")) == pytest.approx(-0.15, abs=0.1)
    with pytest.raises(NoSuggestion):
        slide(curve.lrs[curve.used], curve.losses[curve.used])


def test_the_picture_marks_what_auto_takes_and_shades_what_is_skipped() -> None:
    curve = Curve(LRS, fall() + 0.1 * rise(-0.5), SETTINGS, "finished", 3200, 1.0)
    (axes,) = curve.draw("head").axes
    labels = axes.get_legend_handles_labels()[1]
    result = curve.suggestions()
    assert f"valley: {result['valley']:.2e} (auto)" in labels
    assert {f"{m}: {result[m]:.2e}" for m in ("slide", "minimum", "steep")} <= set(labels)
    assert {"loss, measured", "loss, smoothed", "skipped"} <= set(labels)
    shaded = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    spans = [(box.x0, box.x1) for box in shaded]
    assert spans[0] == pytest.approx((LRS[0], LRS[10]), rel=1e-3)
    assert spans[1] == pytest.approx((LRS[94], LRS[99]), rel=1e-3)
    flat = Curve(LRS, np.full(STEPS, 3.6), SETTINGS, "finished", 3200, 1.0)
    assert "valley: none" in flat.draw("head").axes[0].get_legend_handles_labels()[1]


def test_the_picture_of_a_trained_network_shows_the_rise_that_slide_reads() -> None:
    losses = 0.1 + 0.01 * np.random.default_rng(0).standard_normal(STEPS) + 0.1 * rise(0.3)
    curve = Curve(LRS, losses, SETTINGS, "finished", 3200, 1.0)
    (axes,) = curve.draw("all").axes
    assert curve.choose()[0] == "slide"
    (heights,) = (line.get_ydata() for line in axes.lines if line.get_label() == "loss, smoothed")
    assert heights[:50].max() < 0.13
    assert 0.2 < heights[-1] <= axes.get_ylim()[1], "twice the minimum is in the picture"


@pytest.mark.parametrize("points", [0, 3, 12])
def test_a_curve_that_ended_at_once_has_no_suggestion_but_a_picture(points: int) -> None:
    from pets.io.pictures import pixels, png

    curve = Curve(LRS[:points], fall()[:points], SETTINGS, "the loss became nan", 0, 1.0)
    assert all(isinstance(result, str) for result in curve.suggestions().values())
    array = pixels(curve.draw("head"))
    assert png(array).startswith(b"\x89PNG")
    assert array.shape[0] >= 500
    assert array.shape[1] >= 900
    curve.as_json()
