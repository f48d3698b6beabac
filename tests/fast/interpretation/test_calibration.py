"""Reliability and temperature, against sums on paper and data of a known temperature."""

import numpy as np
import pytest
import torch

from pets.interpretation.calibration import at_temperature, fit_temperature, reliability
from pets.metrics import Temperature
from pets.report.charts import FEW, draw_reliability


def true_odds(photos: int, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities, and labels drawn from them."""
    rng = np.random.default_rng(0)
    logs = at_temperature(2 * rng.standard_normal((photos, classes)), 1.0)
    return logs, (logs + rng.gumbel(size=logs.shape)).argmax(1)


def test_the_calibration_error_of_a_case_on_paper() -> None:
    # Two photos at 0.5 on average, one right; one at 0.7, wrong; three at 0.9, two right.
    confidence = np.array([0.95, 0.45, 0.85, 0.7, 0.55, 0.9])
    correct = np.array([True, False, False, False, True, True])
    result = reliability(confidence, correct, bins=5)
    assert result.confidence.tolist() == pytest.approx([0.5, 0.7, 0.9])
    assert result.accuracy.tolist() == pytest.approx([0.5, 0.0, 2 / 3])
    assert result.counts.tolist() == [2, 1, 3]
    assert result.ece == pytest.approx((2 * 0 + 1 * 0.7 + 3 * (0.9 - 2 / 3)) / 6)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    on_edges = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    result = reliability(on_edges, np.ones(5, dtype=bool), bins=5)
    assert result.confidence.tolist() == on_edges.tolist()
    with_the_bin_below = reliability(np.array([0.3, 0.4]), np.ones(2, dtype=bool), bins=5)
    assert with_the_bin_below.counts.tolist() == [2]
    apart = reliability(np.array([0.3, 0.4 + 1e-9]), np.ones(2, dtype=bool), bins=5)
    assert apart.counts.tolist() == [1, 1]
    assert reliability(np.zeros(1), np.zeros(1, dtype=bool), bins=5).counts.tolist() == [1]


def test_there_are_bins_only_where_there_are_photos() -> None:
    result = reliability(np.array([0.99, 0.98]), np.array([True, True]))
    assert result.counts.tolist() == [2]
    assert result.ece == pytest.approx(0.015)
    none = reliability(np.empty(0), np.empty(0, dtype=bool))
    assert len(none.counts) == 0
    assert none.ece == 0


def test_the_calibrated_have_a_low_error_and_the_too_sure_a_high_one() -> None:
    logs, labels = true_odds(20_000)
    errors = [
        reliability(np.exp(at_temperature(logs, t)).max(1), logs.argmax(1) == labels).ece
        for t in (1.0, 1 / 3, 3.0)
    ]
    assert errors[0] < 0.015
    assert min(errors[1:]) > 0.1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logs, labels = true_odds(4000)
    stretched = at_temperature(logs, 1 / temperature)
    assert fit_temperature(stretched, labels) == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_same_is_found_batch_by_batch(temperature: float) -> None:
    logs, labels = true_odds(3000)
    stretched = at_temperature(logs, 1 / temperature)
    metric = Temperature()
    for rows in np.array_split(np.arange(3000), 40):
        metric.update(torch.tensor(5 + stretched[rows]), torch.tensor(labels[rows]))
    assert float(metric.compute()) == pytest.approx(fit_temperature(stretched, labels), rel=3e-3)


def test_temperatures_stay_within_bounds() -> None:
    assert fit_temperature(np.empty((0, 3)), np.empty(0, dtype=int)) == 1.0
    sure = np.log([(0.9, 0.1), (0.1, 0.9)])
    # Always right and never right: no temperature is far enough.
    assert 0.05 <= fit_temperature(sure, np.array([0, 1])) < 0.1
    assert 19 < fit_temperature(sure, np.array([1, 0])) <= 20


def test_a_temperature_keeps_the_order_and_gives_probabilities() -> None:
    logs, _ = true_odds(50)
    for temperature in (0.05, 0.5, 1.0, 3.0, 20.0):
        result = at_temperature(logs, temperature)
        assert (result.argsort(1) == logs.argsort(1)).all()
        assert np.exp(result).sum(1) == pytest.approx(1)
    assert at_temperature(logs, 1.0) == pytest.approx(logs)
    # Probabilities of 4 to 1 are 2 to 1 at twice the temperature.
    half = np.exp(at_temperature(np.log([(0.8, 0.2)]), 2.0))
    assert half.tolist()[0] == pytest.approx([2 / 3, 1 / 3])


def test_the_interval_of_a_bin_is_wilsons() -> None:
    result = reliability(np.array([0.9, 0.95, 0.92, 0.5]), np.array([True, True, False, True]), 5)
    assert result.counts.tolist() == [1, 3]
    # (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.96.
    expected = np.array([[0.20654, 1.0], [0.20766, 0.93851]])
    assert result.intervals == pytest.approx(expected, abs=1e-5)
    assert reliability(np.empty(0), np.empty(0, dtype=bool)).intervals.shape == (0, 2)


def test_a_bin_with_few_photos_is_hollow_and_says_how_many() -> None:
    confidence = np.repeat([0.35, 0.55, 0.95], [FEW - 1, FEW, 60])
    correct = np.arange(len(confidence)) % 4 > 0
    bins = reliability(confidence, correct)
    assert bins.counts.tolist() == [FEW - 1, FEW, 60]
    (axes,) = draw_reliability({"a run": bins}).axes
    assert [text.get_text() for text in axes.texts] == [str(FEW - 1)]
    assert axes.texts[0].xy == pytest.approx((0.35, bins.accuracy[0]))
    (hollow,) = (line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()))
    assert hollow.get_markerfacecolor() == "white"
    assert hollow.get_xydata() == pytest.approx(np.array([[0.35, bins.accuracy[0]]]))
    # The line and the dots are those of the others alone; every bin has its interval.
    (joined,) = (line for line in axes.lines if line.get_label() == "a run")
    assert joined.get_xydata() == pytest.approx(np.c_[bins.confidence, bins.accuracy][1:])
    upright, dots = axes.collections
    assert dots.get_offsets().data == pytest.approx(np.c_[bins.confidence, bins.accuracy][1:])
    ends = np.array([segment[:, 1] for segment in upright.get_segments()])
    assert ends == pytest.approx(bins.intervals)
