"""Rank backbones by their validation errors, and say which differences may be chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pets.comparison.paired import SIGNIFICANT, Paired
from pets.errors import some
from pets.interpretation.interpretation import wilson

_FASTER = 1.1  # a lower ratio of speeds is not worth a sentence: timings vary by as much
_NAMED = 3  # names in a sentence


@dataclass(frozen=True)
class Entrant:
    """A backbone at a size, with the best head found for its features.

    Attributes:
        name: What is typed: a config in `conf/model/`, a name of timm, or an address.
        network: The architecture's name in its library.
        size: Height and width of the photos in pixels.
        wrong: Whether the head misclassifies each validation photo; the same order for all.
        c: The head's inverse regularisation, chosen by cross-validation.
        cv_error: Its error in the cross-validation on training photos.
        speed: Photos per second through the backbone on this machine, without loading them.
        megabytes: The backbone's weights.
        licence: Of the weights.
        overrides: The arguments of `pets train` that choose it.
    """

    name: str
    network: str
    size: tuple[int, int]
    wrong: tuple[bool, ...]
    c: float
    cv_error: float
    speed: float
    megabytes: float
    licence: str
    overrides: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        return sum(self.wrong) / len(self.wrong)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the error."""
        return wilson(sum(self.wrong), len(self.wrong))


@dataclass(frozen=True)
class Against:
    """An entrant against the best one, on the same photos.

    The best is chosen by the same photos, so that every pair of entrants counts as a comparison
    (Bonferroni), not only the pairs with the best: of equal entrants, the luckiest meets the least
    lucky.

    Attributes:
        paired: The best is the new one, so that the difference is how much higher the error is.
        pairs: The number of comparisons.
    """

    paired: Paired
    pairs: int

    @property
    def p(self) -> float:
        """The p-value of the exact McNemar test, times the number of comparisons."""
        return min(1.0, self.paired.p * self.pairs)

    @property
    def interval(self) -> tuple[float, float]:
        """An interval of the difference; those of all pairs hold together with 95 % confidence."""
        return self.paired.interval_at(1 - SIGNIFICANT / self.pairs)

    @property
    def is_tie(self) -> bool:
        return self.p >= SIGNIFICANT


@dataclass(frozen=True)
class Race:
    """The entrants of a race, the lowest error first, of equal ones the faster.

    Attributes:
        entrants: Those with a result.
        failures: The reason for each that has none, by name.
        train: Number of training photos.
        classes: Number of classes.
        data: Where the photos are.
    """

    entrants: tuple[Entrant, ...]
    failures: Mapping[str, str]
    train: int
    classes: int
    data: str

    @classmethod
    def of(cls, entrants: Sequence[Entrant], failures: Mapping[str, str], train: int, classes: int,
           data: str) -> Race:  # fmt: skip
        ordered = sorted(entrants, key=lambda one: (sum(one.wrong), -one.speed))
        return cls(tuple(ordered), dict(failures), train, classes, data)

    @property
    def best(self) -> Entrant:
        return self.entrants[0]

    @property
    def photos(self) -> int:
        """The number of validation photos."""
        return len(self.best.wrong)

    @property
    def pairs(self) -> int:
        """The number of pairs of entrants."""
        return math.comb(len(self.entrants), 2)

    @cached_property
    def comparisons(self) -> tuple[Against, ...]:
        """Each other entrant against the best, in order."""
        best, *others = (~np.array(one.wrong) for one in self.entrants)
        return tuple(Against(Paired.of(right, best), self.pairs) for right in others)

    @cached_property
    def tied(self) -> tuple[Entrant, ...]:
        """The best, and those that cannot be told apart from it."""
        pairs = zip(self.entrants[1:], self.comparisons, strict=True)
        return (self.best, *(one for one, against in pairs if against.is_tie))

    @property
    def fastest(self) -> Entrant:
        """The fastest of those that cannot be told apart from the best."""
        return max(self.tied, key=lambda one: one.speed)

    @property
    def has_faster_tie(self) -> bool:
        return self.fastest.speed >= _FASTER * self.best.speed

    @property
    def front(self) -> list[Entrant]:
        """The Pareto front: no other entrant is as fast with a lower error."""
        fastest, front = -math.inf, []
        for one in self.entrants:
            if one.speed > fastest:
                front.append(one)
                fastest = one.speed
        return front

    def label(self, one: Entrant) -> str:
        """The name, with the size if the backbone has raced at several."""
        several = Counter(other.name for other in self.entrants)[one.name] > 1
        return f"{one.name} at {pixels(one.size)}" if several else one.name


def pixels(size: tuple[int, int]) -> str:
    """`224 px`, or `224 x 320 px`."""
    height, width = size
    return f"{height} px" if height == width else f"{height} x {width} px"


def percent(share: float, unit: str = " %") -> str:
    """`7.1 %`"""
    return f"{100 * share:.1f}{unit}"


def verdict(race: Race) -> list[str]:
    """The result in sentences, the main one first."""
    best, others, label = race.best, race.entrants[1:], race.label
    low, high = best.interval
    sentences = [
        f"{label(best)}: {percent(best.error)} validation error on {race.photos:,} photos (95 % "
        f"interval {percent(low, '')} to {percent(high)}), {best.speed:,.0f} photos a second."
    ]
    if not others:
        return [*sentences, "It ran alone: there is nothing to compare it with."]
    tied = race.tied[1:]
    if tied:
        names, on = [label(one) for one in tied], f"on {race.photos:,} photos"
        if not tied[1:]:
            line = f"{label(best)} and {names[0]} cannot be told apart {on}"
        elif tied == others:
            line = f"None of the other {len(tied)} can be told apart from {label(best)} {on}"
        else:
            line = f"{some(names, _NAMED)} cannot be told apart from {label(best)} {on}"
        if race.has_faster_tie:
            factor = race.fastest.speed / best.speed
            line += f"; {label(race.fastest)} is {factor:.1f} times as fast"
        sentences.append(f"{line}.")
    worse = [one for one in others if one not in tied]
    if worse:
        second = worse[0]
        against = race.comparisons[others.index(second)]
        low, high = against.interval
        sentences.append(
            f"{label(best)} is better than {label(second)} by "
            f"{percent(against.paired.difference, '')} points (interval {percent(low, '')} to "
            f"{percent(high, '')}, p = {against.p:.2g})"
            + (f", and than {len(worse) - 1} more." if worse[1:] else ".")
        )
        fast = max(worse, key=lambda one: one.speed)
        if fast.speed >= _FASTER * race.fastest.speed:
            sentences.append(
                f"{label(fast)}, with {percent(fast.error)}, is {fast.speed / best.speed:.1f} "
                f"times as fast as {label(best)}."
            )
    sentences.append(
        "Ties are by the exact McNemar test on the same photos, with Bonferroni's correction for "
        f"{race.pairs} {'pair' if race.pairs == 1 else 'pairs'}. The lowest of several errors is "
        "optimistic; test photos were not used."
    )
    if race.failures:
        sentences.append(f"Without a result: {some(list(race.failures), _NAMED)}.")
    return sentences
