"""Forecast what more training photos would bring, in total and per class, or say why one cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pets.probe.power_law import DRAWS, Floats, HeldOut, Law, fit, hold_out, interval, resample

HELD_OUT = 2  # the law is checked on this many of the largest sizes
LEAST_SIZES = 5  # different sizes: three to fit the law's parameters, and those held out
LEAST_VALID = 20  # validation photos: with fewer, the error moves in steps of more than 5 points
LEAST_VALID_OF_CLASS = 50  # of one class: with 20, one of three told changes had the right sign
FARTHEST = 2.0  # times the photos there are: the check extrapolates about as far
_MOST_NAMED = 5  # classes in a sentence


@dataclass(frozen=True)
class Forecast:
    """The error of all photos or of one class, and how more training photos would change it.

    Attributes:
        name: The class; "" for all photos.
        photos: Number of its training photos at each size of the curve (sizes,).
        errors: Its validation error at each size, the mean over the seeds (sizes,).
        valid: Number of its validation photos.
        more: Number of further training photos.
        law: The fitted law, first of all photos and seeds, then of each bootstrap sample; None if
            there are too few photos.
        checks: The law's predictions for the held-out sizes.
        change: The forecast change of the error; negative is better.
        low: Lower end of the 95 % interval of the expected change; those of all classes hold
            jointly. A change that is measured later also has the luck of the added photos.
        high: Upper end.
        doubt: Why the change cannot be told; "" if it can.
        spread: Standard deviation of the error between seeds at the second largest size. Their
            subsets share most photos, so that independent training sets differ by more.
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
    rng: np.random.Generator, among: int = 1, least_valid: int = LEAST_VALID,
) -> Forecast:  # fmt: skip
    """Forecast the error of all photos or of one class by a power law, and check the law.

    Args:
        name: The class; "" for all photos.
        photos: Number of training photos at each size (sizes,).
        wrong: Whether each validation photo is misclassified (sizes, seeds, photos).
        more: Number of further training photos; None for as many again.
        rng: Draws the bootstrap samples.
        among: Number of forecasts whose intervals of the change have to hold jointly.
        least_valid: With fewer validation photos nothing is fitted.
    """
    counts = np.asarray(photos, dtype=np.float64)
    now = counts[-1]
    added = int(now) if more is None else more
    seeds, valid = wrong.shape[1:]
    errors = wrong.mean((1, 2)) if valid else np.full(len(counts), np.nan)
    if doubt := _too_few(counts, valid, least_valid):
        nan = float("nan")
        return Forecast(name, counts, errors, valid, added, None, (), nan, nan, nan, doubt)
    draws = resample(wrong, rng)
    law = fit(counts, draws)
    # All seeds have the same photos at the largest size, so there they cannot differ.
    spread = float(wrong[-2].mean(1).std(ddof=1))
    checks = hold_out(counts, draws, HELD_OUT, rng.normal(0, spread, DRAWS), seeds)
    changes = law(now + added) - law(now)
    low, high = interval(changes[1:], seeds, among)
    missed = sum(not check.inside for check in checks)
    if now + added > FARTHEST * now:
        doubt = f"that is more than {FARTHEST:g} times the photos, farther than the check reaches"
    elif missed:
        doubt = f"fitted without its largest sizes, the law misses {missed} of {len(checks)}"
    elif contains_zero(low, high):
        doubt = "its interval contains zero"
    change = float(changes[0])
    return Forecast(
        name, counts, errors, valid, added, law, tuple(checks), change, low, high, doubt, spread
    )


def contains_zero(low: float, high: float) -> bool:
    """Whether an interval contains zero as it is printed, in tenths of a point."""
    return round(low, 3) <= 0 <= round(high, 3)


def _too_few(photos: Floats, valid: int, least_valid: int) -> str:
    """Return why there are too few photos to fit a law; "" if there are enough."""
    if valid < least_valid:
        return f"{valid} validation photos are too few"
    if len(np.unique(photos)) < LEAST_SIZES:
        return f"{photos[-1]:,.0f} training photos are too few"
    return ""


@dataclass(frozen=True)
class Curve:
    """The learning curve of all photos, and that of each class.

    Attributes:
        whole: The forecast for all photos.
        classes: The forecast for each class.
        network: The backbone.
        seeds: Number of random orders in which photos were added.
        data: Where the photos are.
    """

    whole: Forecast
    classes: tuple[Forecast, ...]
    network: str
    seeds: int
    data: str

    @property
    def checks(self) -> list[HeldOut]:
        """The checks of all forecasts."""
        return [check for one in (self.whole, *self.classes) for check in one.checks]

    @property
    def told(self) -> list[Forecast]:
        """The classes whose change can be told, the largest fall of the error first."""
        return sorted((one for one in self.classes if not one.doubt), key=lambda one: one.change)


def forecast_all(
    labels: Sequence[str],
    train: NDArray[np.int64],
    valid: NDArray[np.int64],
    subsets: Sequence[NDArray[np.int64]],
    wrong: Floats,
    more: int | None,
    seed: int,
) -> tuple[Forecast, tuple[Forecast, ...]]:
    """Return the forecast for all photos and that for each class.

    Args:
        labels: Names of the classes.
        train: Class index of each training photo.
        valid: Class index of each validation photo.
        subsets: Rows of `train` at each size, for one seed; the others have as many of each class.
        wrong: Whether each validation photo is misclassified (sizes, seeds, photos).
        more: Number of further training photos of each class; None for as many again.
        seed: Seed of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    added = None if more is None else more * len(labels)
    whole = forecast("", [len(rows) for rows in subsets], wrong, added, rng)
    classes = []
    for index, name in enumerate(labels):
        photos = [int((train[rows] == index).sum()) for rows in subsets]
        of_class = wrong[:, :, valid == index]
        classes.append(
            forecast(name, photos, of_class, more, rng, len(labels), LEAST_VALID_OF_CLASS)
        )
    return whole, tuple(classes)


def nested_subsets(
    labels: NDArray[np.int64], fractions: Sequence[float], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the rows of a random subset for each fraction, which contains the one before.

    It has that fraction of every class, but at least one photo. Fractions that add no photo are
    left out.
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


def change_in_points(one: Forecast) -> str:
    """Return the forecast change as text: `-0.8 points (95 % interval -1.1 to -0.5)`."""
    return (
        f"{100 * one.change:+.1f} points (95 % interval {100 * one.low:+.1f} to "
        f"{100 * one.high:+.1f})"
    )


def verdict(curve: Curve) -> list[str]:
    """Return the result in sentences, the main one first."""
    whole, checks, told = curve.whole, curve.checks, curve.told
    photos = f"{whole.more:,} more training photos"
    sentences = [
        f"{photos} would change the validation error, {100 * whole.now:.1f} % with "
        f"{whole.photos[-1]:,.0f}, by {change_in_points(whole)}."
        if not whole.doubt
        else f"What {photos} would bring cannot be told: {whole.doubt}."
    ]
    if told:
        listed = "; ".join(
            f"{one.more:,} more photos of {one.name}: {change_in_points(one)}"
            for one in told[:_MOST_NAMED]
        )
        others = f"; and {len(told) - _MOST_NAMED} more classes" if told[_MOST_NAMED:] else ""
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
    luck = ""
    if not np.isnan(whole.spread):
        spread = f"{100 * whole.spread:.1f} points"
        luck = f"; training sets of this size differ by a standard deviation of {spread} or more"
    sentences.append(
        f"Measured with a linear head on the frozen {curve.network}, {curve.seeds} orders of the "
        "training photos; fine-tuning may gain more or less. Intervals are those of the expected "
        f"change{luck}. A measured change also depends on which photos are added."
    )
    return sentences
