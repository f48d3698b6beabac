"""Rank backbones by validation error, and tell real differences from chance."""

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

_NOTABLY_FASTER = 1.1  # ratio of speeds: timings of one backbone vary by up to as much
_MOST_NAMED = 3  # names in a sentence


@dataclass(frozen=True)
class Entrant:
    """A backbone at one photo size, with the best head found for its features.

    Attributes:
        name: As the user types it: a config in `conf/model/`, a name in timm, or an address.
        network: The architecture's name in its library.
        size: Height and width of the photos in pixels.
        wrong: Whether each validation photo is misclassified; all entrants have the same order.
        c: The head's inverse regularisation strength, chosen by cross-validation.
        cv_error: The error at that strength, cross-validated on the training photos.
        speed: Photos per second through the backbone on this machine, without loading them.
        megabytes: Size of the backbone's weights.
        licence: Licence of the weights.
        overrides: The arguments of `pets train` that select this backbone and size.
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
        """The validation error."""
        return sum(self.wrong) / len(self.wrong)

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson 95 % interval of the error."""
        return wilson(sum(self.wrong), len(self.wrong))


@dataclass(frozen=True)
class AgainstBest:
    """An entrant compared with the best one on the same photos, corrected for multiple comparisons.

    The best entrant is selected on these photos, so the correction (Bonferroni) counts every pair
    of entrants, not only the pairs with the best: if all were equally good, the luckiest would
    still be compared with the unluckiest.

    Attributes:
        paired: This entrant as the old run, the best as the new one: the difference in accuracy is
            how much higher this entrant's error is.
        pairs: The number of pairs of entrants.
    """

    paired: Paired
    pairs: int

    @property
    def p_adjusted(self) -> float:
        """The p-value of the exact McNemar test, times the number of pairs."""
        return min(1.0, self.paired.p * self.pairs)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the difference; the intervals of all pairs hold jointly at 95 %."""
        return self.paired.interval_at(1 - SIGNIFICANT / self.pairs)

    @property
    def is_tie(self) -> bool:
        """Whether the difference may be chance."""
        return self.p_adjusted >= SIGNIFICANT


@dataclass(frozen=True)
class Race:
    """The entrants of a race, the lowest error first, of equal errors the faster first.

    Attributes:
        entrants: The backbones that were measured, the best first.
        failures: Why each of the others could not be measured, by name.
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
        """Return a race of these entrants, sorted."""
        ordered = sorted(entrants, key=lambda one: (sum(one.wrong), -one.speed))
        return cls(tuple(ordered), dict(failures), train, classes, data)

    @property
    def best(self) -> Entrant:
        """The entrant with the lowest error."""
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
    def comparisons(self) -> tuple[AgainstBest, ...]:
        """Every entrant but the best, compared with the best, in the order of `entrants`."""
        best, *others = (~np.array(one.wrong) for one in self.entrants)
        return tuple(AgainstBest(Paired.of(right, best), self.pairs) for right in others)

    @cached_property
    def tied(self) -> tuple[Entrant, ...]:
        """The best entrant, followed by those that cannot be told apart from it."""
        others = zip(self.entrants[1:], self.comparisons, strict=True)
        return (self.best, *(one for one, against in others if against.is_tie))

    @property
    def fastest_tied(self) -> Entrant:
        """The fastest of the best entrant and those that cannot be told apart from it."""
        return max(self.tied, key=lambda one: one.speed)

    @property
    def has_faster_tie(self) -> bool:
        """Whether an entrant tied with the best is notably faster."""
        return self.fastest_tied.speed >= _NOTABLY_FASTER * self.best.speed

    @property
    def pareto_front(self) -> list[Entrant]:
        """The entrants that are faster than every other of the same or a lower error."""
        fastest, front = -math.inf, []
        for one in self.entrants:
            if one.speed > fastest:
                front.append(one)
                fastest = one.speed
        return front

    def label(self, one: Entrant) -> str:
        """Return the entrant's name, with the size if the name has raced at several sizes."""
        several = Counter(other.name for other in self.entrants)[one.name] > 1
        return f"{one.name} at {pixels(one.size)}" if several else one.name


def pixels(size: tuple[int, int]) -> str:
    """Return a size as text: `224 px`, or `224 x 320 px`."""
    height, width = size
    return f"{height} px" if height == width else f"{height} x {width} px"


def percent(share: float, unit: str = " %") -> str:
    """Return a share as text: `7.1 %`."""
    return f"{100 * share:.1f}{unit}"


def verdict(race: Race) -> list[str]:
    """Return the result in sentences, the main one first."""
    best = race.best
    low, high = best.interval
    first = (
        f"{race.label(best)}: {percent(best.error)} validation error on {race.photos:,} photos "
        f"(95 % interval {percent(low, '')} to {percent(high)}), {best.speed:,.0f} photos a second."
    )
    failed = some(list(race.failures), _MOST_NAMED)
    if len(race.entrants) == 1:
        alone = f"no result of {failed}" if race.failures else "it ran alone"
        return [first, f"There is nothing to compare it with: {alone}."]
    caveat = (
        "Ties are by the exact McNemar test on the same photos, with Bonferroni's correction for "
        f"{race.pairs} {'pair' if race.pairs == 1 else 'pairs'}. The lowest of several errors is "
        "optimistic; test photos were not used."
    )
    sentences = [first, *_about_ties(race), *_about_worse(race), caveat]
    if race.failures:
        sentences.append(f"Without a result: {failed}.")
    return sentences


def _about_ties(race: Race) -> list[str]:
    """Name the entrants tied with the best, and the fastest of them if that is notably faster."""
    best, names = race.label(race.best), [race.label(one) for one in race.tied[1:]]
    if not names:
        return []
    on = f"on {race.photos:,} photos"
    if len(names) == 1:
        line = f"{best} and {names[0]} cannot be told apart {on}"
    elif race.tied == race.entrants:
        line = f"None of the other {len(names)} can be told apart from {best} {on}"
    else:
        line = f"{some(names, _MOST_NAMED)} cannot be told apart from {best} {on}"
    if race.has_faster_tie:
        factor = race.fastest_tied.speed / race.best.speed
        line += f"; {race.label(race.fastest_tied)} is {factor:.1f} times as fast"
    return [f"{line}."]


def _about_worse(race: Race) -> list[str]:
    """Say by how much the best beats the next that is no tie, and name one that is faster."""
    others = zip(race.entrants[1:], race.comparisons, strict=True)
    worse = [(one, against) for one, against in others if not against.is_tie]
    if not worse:
        return []
    best, (second, against) = race.best, worse[0]
    low, high = against.interval
    more = f", and than {len(worse) - 1} more." if worse[1:] else "."
    sentences = [
        f"{race.label(best)} is better than {race.label(second)} by "
        f"{percent(against.paired.difference, '')} points (interval {percent(low, '')} to "
        f"{percent(high, '')}, p = {against.p_adjusted:.2g}){more}"
    ]
    fast = max((one for one, _ in worse), key=lambda one: one.speed)
    if fast.speed >= _NOTABLY_FASTER * race.fastest_tied.speed:
        sentences.append(
            f"{race.label(fast)}, with {percent(fast.error)}, is {fast.speed / best.speed:.1f} "
            f"times as fast as {race.label(best)}."
        )
    return sentences
