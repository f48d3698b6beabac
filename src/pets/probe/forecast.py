"""What more training photos would bring: a law per class, checked, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pets.probe.power_law import DRAWS, Floats, HeldOut, Law, fit, hold_out, interval, resample

HELD_OUT = 2  # of the sizes, the largest, for the check
LEAST_SIZES = 5  # of different sizes: three parameters, and what is held out
LEAST_VALID = 20  # validation photos: with fewer, errors are multiples of more than 5 points
FARTHEST = 2.0  # times the photos: the check reaches about as far
_NAMED = 5  # classes in a sentence


@dataclass(frozen=True)
class Forecast:
    """The error of all photos or of one class, and what more training photos would change.

    Attributes:
        name: Of the class; "" for all.
        photos: Its training photos at each size (sizes,).
        errors: Its validation error at each size, mean over seeds (sizes,).
        valid: Number of its validation photos.
        more: Further training photos.
        law: The fitted law, first of all photos and seeds, then of each bootstrap sample; None
            where there are too few photos.
        checks: The held-out sizes.
        change: The forecast difference of the error.
        low: Lower end of its 95 % interval; those of all classes hold together. It is that of the
            expected change: a measured one also has the luck of the photos that are added, of the
            size of `spread`.
        high: Upper end.
        doubt: Why the change cannot be told; "" if it can.
        spread: Standard deviation of the error over sets of training photos.
    """

    name: str
    photos: Floats
    errors: Floats
    valid: int
    more: int
    law: Law | None
    checks: tuple[HeldOut, ...]
    change: float
    low: float
    high: float
    doubt: str
    spread: float = float("nan")

    @property
    def now(self) -> float:
        """The error with all training photos."""
        return float(self.errors[-1])


def forecast(
    name: str, photos: Sequence[int] | NDArray[Any], wrong: Floats, more: int | None,
    rng: np.random.Generator, among: int = 1,
) -> Forecast:  # fmt: skip
    """Fit, check and extrapolate.

    Args:
        name: Of the class; "" for all.
        photos: Training photos at each size (sizes,).
        wrong: Whether each validation photo is wrong (sizes, seeds, photos).
        more: Further training photos; None for as many again.
        rng: Of the bootstrap.
        among: Of so many forecasts the intervals of the change shall hold together.
    """
    counts = np.asarray(photos, dtype=np.float64)
    now = counts[-1]
    added = int(now) if more is None else more
    seeds, valid = wrong.shape[1:]
    errors = wrong.mean((1, 2)) if valid else np.full(len(counts), np.nan)
    doubt = ""
    if valid < LEAST_VALID:
        doubt = f"{valid} validation photos are too few"
    elif len(np.unique(counts)) < LEAST_SIZES:
        doubt = f"{now:,.0f} training photos are too few"
    if doubt:
        nan = float("nan")
        return Forecast(name, counts, errors, valid, added, None, (), nan, nan, nan, doubt)
    draws = resample(wrong, rng)
    law = fit(counts, draws)
    # The spread over sets of training photos, at the largest size of which there are several.
    spread = float(wrong[-2].mean(1).std(ddof=1))
    checks = hold_out(counts, draws, HELD_OUT, rng.normal(0, spread, DRAWS), seeds)
    changes = law(now + added) - law(now)
    low, high = interval(changes[1:], seeds, among)
    if now + added > FARTHEST * now:
        doubt = f"that is more than {FARTHEST:g} times the photos, farther than the check reaches"
    elif missed := [check for check in checks if not check.inside]:
        doubt = f"fitted without its largest sizes, the law misses {len(missed)} of {len(checks)}"
    elif low <= 0 <= high:
        doubt = "the interval has both signs"
    change = float(changes[0])
    return Forecast(
        name, counts, errors, valid, added, law, tuple(checks), change, low, high, doubt, spread
    )


@dataclass(frozen=True)
class Curve:
    """The curve of all photos, and one for each class.

    Attributes:
        whole: Of all photos.
        classes: Of each class.
        network: The backbone.
        seeds: Orders in which photos were added.
        data: Where the photos are.
    """

    whole: Forecast
    classes: tuple[Forecast, ...]
    network: str
    seeds: int
    data: str

    @property
    def checks(self) -> list[HeldOut]:
        """All held-out points."""
        return [check for one in (self.whole, *self.classes) for check in one.checks]

    @property
    def told(self) -> list[Forecast]:
        """The classes of which the change can be told, the largest first."""
        return sorted((one for one in self.classes if not one.doubt), key=lambda one: one.change)


def curve_of(
    labels: Sequence[str],
    train: NDArray[np.int64],
    valid: NDArray[np.int64],
    subsets: Sequence[NDArray[np.int64]],
    wrong: Floats,
    more: int | None,
    seed: int,
) -> tuple[Forecast, tuple[Forecast, ...]]:
    """Return the forecasts for all photos and for each class.

    Args:
        labels: Names of the classes.
        train: Class index of each training photo.
        valid: Class index of each validation photo.
        subsets: Rows of `train` at each size, of one seed; all seeds have as many of each class.
        wrong: (sizes, seeds, validation photos).
        more: Further training photos of each class; None for as many again.
        seed: Of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    added = None if more is None else more * len(labels)
    whole = forecast("", [len(rows) for rows in subsets], wrong, added, rng)
    classes = []
    for index, name in enumerate(labels):
        photos = [int((train[rows] == index).sum()) for rows in subsets]
        of_class = wrong[:, :, valid == index]
        classes.append(forecast(name, photos, of_class, more, rng, len(labels)))
    return whole, tuple(classes)


def nested_subsets(
    labels: NDArray[np.int64], fractions: Sequence[float], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the rows of each fraction of every class, at least one.

    Each subset contains the one before. Fractions that add no photo are left out.
    """
    rank, total = np.empty(len(labels)), np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank[rows], total[rows] = rng.permutation(len(rows)), len(rows)
    subsets: list[NDArray[np.int64]] = []
    for fraction in fractions:
        rows = np.flatnonzero(rank < np.maximum(np.round(fraction * total), 1))
        if not subsets or len(rows) > len(subsets[-1]):
            subsets.append(rows)
    return subsets


def points(one: Forecast) -> str:
    """`-0.8 points (95 % interval -1.1 to -0.5)`"""
    return (
        f"{100 * one.change:+.1f} points (95 % interval {100 * one.low:+.1f} to "
        f"{100 * one.high:+.1f})"
    )


def verdict(curve: Curve) -> list[str]:
    """The result in sentences, the main one first."""
    whole, checks, told = curve.whole, curve.checks, curve.told
    luck = ""
    if not np.isnan(whole.spread):
        spread = f"{100 * whole.spread:.1f} points"
        luck = f"; the errors of training sets of this size have a standard deviation of {spread}"
    photos = f"{whole.more:,} more training photos"
    sentences = [
        f"{photos} would change the validation error, {100 * whole.now:.1f} % with "
        f"{whole.photos[-1]:,.0f}, by {points(whole)}."
        if not whole.doubt
        else f"What {photos} would bring cannot be told: {whole.doubt}."
    ]
    if told:
        listed = "; ".join(
            f"{one.more:,} more photos of {one.name}: {points(one)}" for one in told[:_NAMED]
        )
        others = f"; and {len(told) - _NAMED} more classes" if told[_NAMED:] else ""
        sentences.append(
            f"{listed}{others}. Each number is about the class's own error, if all classes get "
            "more photos; with 95 % confidence all of these intervals are right at once."
        )
    if unknown := len(curve.classes) - len(told):
        which = f"the other {unknown}" if told else f"any of the {unknown}"
        sentences.append(f"It cannot be told for {which} classes; the table says why.")
    if checks:
        inside = sum(check.inside for check in checks)
        sentences.append(
            f"Check: with the {HELD_OUT} largest sizes held out, {inside} of {len(checks)} "
            "measured errors are inside the law's 95 % interval."
        )
    sentences.append(
        f"Measured with a linear head on the frozen {curve.network}, {curve.seeds} orders of the "
        "training photos; fine-tuning may gain more or less. Intervals are those of the expected "
        f"change{luck}. One interval of 20 is wrong by chance."
    )
    return sentences
