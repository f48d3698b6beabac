"""Learning rate suggestions from a curve of loss over learning rate.

Every method is a function of (lrs, losses): rates growing by a constant factor, and the measured
loss before each step. Each raises `NoSuggestion` if the curve supports none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.optimize import isotonic_regression

Array = NDArray[np.float64]

# Width of the smoothing as a share of the curve: on 100 steps a Gaussian of 3 steps for levels and
# of 6 for slopes, which noise disturbs more. Measured by bench/lr_suggestions.py.
LEVEL_WIDTH, SLOPE_WIDTH = 0.03, 0.06
# Half-way, where most curves are steepest, is too timid for one-cycle training; this is as far down
# as stays within a factor of 3 of the steepest point on nine of ten noisy curves.
WAY_DOWN = 0.6
FEWEST = 10
# A fall below 1.2 times the noise of a step, or below 1 % of the loss, happens by chance: one in
# forty curves of pure noise has more.
NOISE_FACTOR, LEAST_FALL = 1.2, 0.01
# Still falling: minimum in the last tenth, with at least half of the steepest slope there.
STILL_FALLING = 0.5
# The loss counts as risen at this multiple of its minimum.
RISEN = 2.0


class NoSuggestion(ValueError):
    """The curve supports no suggestion; the message says why."""


def smooth(losses: Array, width: float = LEVEL_WIDTH, ceiling: float = -np.inf) -> Array:
    """Smooth the losses with a Gaussian of `width` times their number of steps.

    Unlike a running average, it does not lag, which would move every suggestion to the right.
    Values after the minimum are clipped to the highest loss before it, or to a higher `ceiling`, so
    that the explosion does not leak into the smoothing.
    """
    return gaussian_filter1d(_without_explosion(losses, ceiling), max(width * len(losses), 0.5))


def valley(lrs: Array, losses: Array) -> float:
    """Return the rate at which the loss has fallen by three fifths of its total fall.

    After fastai's `valley` (ESRI), a point well down the longest falling subsequence. Here the fall
    is the closest falling curve in least squares (isotonic regression), which noise moves less.
    """
    check(lrs, losses)
    smoothed = smooth(losses)
    fall = isotonic_regression(smoothed[: _bottom(smoothed) + 1], increasing=False).x
    if fall[0] == fall[-1]:
        raise NoSuggestion("the closest falling curve is flat")
    return _crossing(lrs, fall, fall[0] - WAY_DOWN * (fall[0] - fall[-1]))


def steep(lrs: Array, losses: Array) -> float:
    """Return the rate with the steepest fall of the loss over the logarithm of the rate.

    The steepest point of Smith's range test (2015, arXiv:1506.01186) as fastai draws it.
    """
    check(lrs, losses)
    smoothed = smooth(losses, SLOPE_WIDTH)
    slopes = np.gradient(smoothed, np.log(lrs))[: _bottom(smoothed) + 1]
    return float(lrs[int(slopes.argmin())])


def minimum(lrs: Array, losses: Array) -> float:
    """Return a tenth of the rate with the lowest loss: aggressive (fastai's rule of thumb)."""
    check(lrs, losses)
    return _a_tenth(float(lrs[_bottom(smooth(losses))]), lrs, "the loss is lowest")


def slide(lrs: Array, losses: Array) -> float:
    """Return a tenth of the rate at which the loss has risen to twice its minimum.

    Needs no fall, so it also serves a network that is trained already: the lesson's rule after
    `unfreeze`, well below where it gets worse. fastai's `slide` (the interval slide rule, ESRI)
    moves an interval of 1.2 decades down from the explosion until its ends have like slopes, and
    takes its left end; here the rise is read from the closest rising curve (isotonic regression).
    """
    _check_length(losses)
    smoothed = smooth(losses, SLOPE_WIDTH)
    bottom = _bottom(smoothed)
    level = RISEN * float(smoothed[bottom])
    # Beyond twice that level, how far it explodes says nothing about where that began.
    below = np.minimum(losses, RISEN * level)
    rise = isotonic_regression(gaussian_filter1d(below, LEVEL_WIDTH * len(losses))[bottom:]).x
    if rise[-1] <= level:
        raise NoSuggestion(f"the loss does not rise to twice its lowest before {lrs[-1]:.1e}")
    risen = lrs[bottom] if rise[0] >= level else _crossing(lrs[bottom:], rise, level)
    return _a_tenth(float(risen), lrs, "the loss has risen to twice its lowest")


METHODS: dict[str, Callable[[Array, Array], float]] = {
    "valley": valley,
    "slide": slide,
    "minimum": minimum,
    "steep": steep,
}


def check(lrs: Array, losses: Array) -> None:
    """Raise NoSuggestion unless the curve is long enough, falls, and stops falling.

    All methods but `slide` need that.
    """
    _check_length(losses)
    smoothed = smooth(losses, SLOPE_WIDTH)
    bottom = _bottom(smoothed)
    top = float(smoothed[: bottom + 1].max())
    fall = top - float(smoothed[bottom])
    noise = _noise(losses)
    if fall < max(NOISE_FACTOR * noise, LEAST_FALL * abs(top)):
        raise NoSuggestion(
            f"the loss never falls between {lrs[0]:.1e} and {lrs[-1]:.1e}: by {fall:.3f} from "
            f"{top:.3f}, with a noise of {noise:.3f}"
        )
    slopes = np.gradient(smoothed)
    last = max(len(losses) // 10, 2)
    if bottom >= len(losses) - last and slopes[-last:].mean() < STILL_FALLING * slopes.min():
        raise NoSuggestion(f"the loss still falls at {lrs[-1]:.1e}, where the curve ends")


def _check_length(losses: Array) -> None:
    if len(losses) < FEWEST:
        raise NoSuggestion(f"{len(losses)} usable points, expected at least {FEWEST}")


def _crossing(lrs: Array, curve: Array, level: float) -> float:
    """Return the rate at which a monotonic curve crosses the level."""
    index = int(np.nonzero((curve > level) != (curve[-1] > level))[0][-1])
    part = (curve[index] - level) / (curve[index] - curve[index + 1])
    return float(lrs[index] * (lrs[index + 1] / lrs[index]) ** part)


def _a_tenth(rate: float, lrs: Array, what: str) -> float:
    """Return a tenth of the rate. Raises NoSuggestion if it is below the tested range."""
    if rate / 10 < lrs[0]:
        raise NoSuggestion(f"{what} at {rate:.1e}, and a tenth of that was not tried")
    return rate / 10


def _bottom(smoothed: Array) -> int:
    return int(smoothed.argmin())


def _without_explosion(losses: Array, ceiling: float = -np.inf) -> Array:
    # Locate the minimum on a median-filtered curve, so that one lucky batch does not count; if it
    # lies at the very start, clip at the maximum of the first third instead.
    lowest = int(median_filter(losses, max(len(losses) // 12, 3)).argmin())
    return np.minimum(losses, max(losses[: max(lowest, len(losses) // 3) + 1].max(), ceiling))


def _noise(losses: Array) -> float:
    """Estimate the standard deviation of a step by the median, which is robust to steep parts."""
    steps = np.diff(losses)
    return float(np.median(np.abs(steps - np.median(steps)))) * 1.4826 / 2**0.5
