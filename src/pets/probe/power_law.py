"""A power law through errors over the number of training photos, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
DRAWS = 1000  # of the bootstrap
LEVELS = (0.025, 0.975)
_POWERS = np.geomspace(0.05, 2.0, 160)  # of the law: learning curves lie within


@dataclass(frozen=True)
class Law:
    """The error a * n**-b + c after training on n photos; each parameter an array (draws,)."""

    a: Floats
    b: Floats
    c: Floats

    def __call__(self, photos: float) -> Floats:
        """Return the error (draws,), within 0 and 1."""
        return np.clip(self.a * photos**-self.b + self.c, 0, 1)


def fit(photos: Floats, errors: Floats) -> Law:
    """Fit a law to each row of `errors` (draws, sizes), measured at `photos` (sizes,).

    For every power on a grid the other two parameters are a line's, in closed form, with c at least
    0; the power with the smallest squared error is taken. There are no local minima. Sizes count
    by the inverse of their error, since the variance of a small share is proportional to it. `a`
    may be negative, so that a curve that does not fall is not taken for one that does.
    """
    weights = 1 / np.maximum(errors.mean(0), errors.mean() / 20 + 1e-9)
    weights = weights / weights.sum()
    best = np.full(len(errors), np.inf)
    a, b, c = np.zeros((3, len(errors)))
    for power in _POWERS:
        x = photos**-power
        centre, level = weights @ x, errors @ weights
        slope = (errors - level[:, None]) @ (weights * (x - centre)) / (weights @ (x - centre) ** 2)
        offset = level - slope * centre
        # The best line through the origin where the offset would be negative.
        below = offset < 0
        slope = np.where(below, errors @ (weights * x) / (weights @ x**2), slope)
        offset = np.where(below, 0.0, offset)
        loss = (errors - slope[:, None] * x - offset[:, None]) ** 2 @ weights
        better = loss < best - 1e-15
        a, b, c = (np.where(better, new, old) for new, old in ((slope, a), (power, b), (offset, c)))
        best = np.minimum(best, loss)
    return Law(a, b, c)


def resample(wrong: Floats, rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Return errors (1 + draws, sizes): of all photos and seeds, then of bootstrap samples of both.

    Args:
        wrong: Whether each photo was wrong (sizes, seeds, photos). A photo or a seed that is drawn
            counts at all sizes, so that what they share does not blur the curve's shape.
        rng: Draws the samples.
        draws: Number of samples.
    """
    sizes, seeds, photos = wrong.shape
    by_photo = rng.multinomial(photos, np.full(photos, 1 / photos), draws) / photos
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    by_photo = np.vstack([np.full(photos, 1 / photos), by_photo])
    by_seed = np.vstack([np.full(seeds, 1 / seeds), by_seed])
    means = wrong.reshape(sizes * seeds, photos) @ by_photo.T
    return np.einsum("srd,dr->ds", means.reshape(sizes, seeds, -1), by_seed)


def interval(draws: Floats, sample: int, among: int = 1) -> tuple[float, float]:
    """Return the 95 % interval of bootstrap draws of something that was measured `sample` times.

    The bootstrap of a small sample is too narrow, by what Student's t and the divisor n - 1 make up
    for in a mean. Of several intervals `among` which one looks, all hold together (Bonferroni).
    """
    low, middle, high = np.quantile(draws, (LEVELS[0], 0.5, LEVELS[1]))
    wider = stats.t.ppf(1 - LEVELS[0] / among, sample - 1) / stats.norm.ppf(LEVELS[1])
    wider *= np.sqrt(sample / (sample - 1))
    return float(middle - wider * (middle - low)), float(middle + wider * (high - middle))


@dataclass(frozen=True)
class HeldOut:
    """The check of a size that was left out of the fit.

    It has the measured error, and the law's interval for it on the same photos.
    """

    photos: float
    error: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        return self.low - 1e-9 <= self.error <= self.high + 1e-9


def hold_out(
    photos: Floats, errors: Floats, sizes: int, noise: Floats, seeds: int
) -> list[HeldOut]:
    """Fit all but the largest `sizes`, and compare these with the law's predictions.

    Args:
        photos: (sizes,)
        errors: Of `resample` (1 + draws, sizes).
        sizes: How many of the largest are held out.
        noise: Random numbers (draws,) with the standard deviation over sets of training photos: of
            the largest size there is one set, whose luck the bootstrap does not vary.
        seeds: How many the errors are means of.
    """
    law = fit(photos[:-sizes], errors[:, :-sizes])
    checks = []
    for column in range(len(photos) - sizes, len(photos)):
        # The difference within a bootstrap sample: its photos make both higher or lower.
        apart = (law(photos[column]) - errors[:, column])[1:]
        if column == len(photos) - 1:
            apart = apart + noise
        low, high = interval(apart, seeds)
        error = float(errors[0, column])
        checks.append(HeldOut(float(photos[column]), error, error + low, error + high))
    return checks
