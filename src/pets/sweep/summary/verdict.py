"""What a sweep says, in plain sentences: the best setting, and whether it is more than luck."""

from __future__ import annotations

from dataclasses import dataclass

from pets.sweep.summary.groups import Group, Spread
from pets.sweep.summary.noise import Difference, standard_error
from pets.sweep.summary.summary import Summary

_SHOWN = 4  # settings that a sentence names
_MANY = 2  # comparisons from which chance is worth a word


@dataclass(frozen=True)
class Verdict:
    """Sentences; those that do not apply are empty."""

    headline: str
    comparison: str = ""
    others: str = ""
    test: str = ""
    caveats: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        every = [f"{self.headline}.", self.comparison, self.others, self.test, *self.caveats]
        return [sentence for sentence in every if sentence]


def verdict(summary: Summary) -> Verdict:
    """The choice is by validation alone; the test error is that of the chosen setting."""
    best = summary.best
    if best is None or best.valid is None:
        done = summary.finished
        return Verdict("No finished run has a validation error" if done else "No run has finished")
    error = f"{summary.percent(best.valid.mean)} validation error"
    return Verdict(
        ": ".join(filter(None, (summary.label(best), error))),
        comparison=_comparison(summary, best),
        others=_others(summary),
        test=_test(summary, best),
        caveats=tuple(_caveats(summary, best, best.valid)),
    )


def spread_words(summary: Summary, spread: Spread) -> str:
    """`mean of 3 runs, 7.1 to 8.5 %, standard deviation 0.7 points`."""
    if spread.deviation is None:
        return "one run"
    low, high = (f"{100 * x:.{summary.digits}f}" for x in (spread.low, spread.high))
    deviation = _points(summary, spread.deviation)
    return f"mean of {len(spread.values)} runs, {low} to {high} %, standard deviation {deviation}"


def interval_words(summary: Summary, found: Difference) -> str:
    """`-0.4 to 4.6 points`."""
    low, high = (f"{100 * x:.{summary.digits}f}" for x in (found.low, found.high))
    return f"{low} to {high} points"


def method_words(summary: Summary, found: Difference, other: Group) -> str:
    """What an interval was computed from."""
    first, second = found.n
    if found.method == "paired":
        return f"paired by seed, {first} seeds on the same photos"
    if found.method == "welch":
        return f"Welch's, from the spread over {first} and {second} runs"
    photos = f"{first:,}" if first == second else f"{first:,} and {second:,}"
    single = summary.best is not None and len(summary.best.counted) == len(other.counted) == 1
    reason = "there is one run each" if single else "they have no spread over seeds to go by"
    return (
        f"from the chance that is in {photos} validation photos, since {reason}; taken as if each "
        "had photos of its own, so rather wide"
    )


def _comparison(summary: Summary, best: Group) -> str:
    if len(summary.groups) == 1:
        assert best.valid is not None
        spread = spread_words(summary, best.valid)
        return f"It is the only setting ({spread}): there is nothing to compare it with."
    if len(summary.ranked) == 1:
        return "No other setting has a result yet."
    second, found = next(iter(summary.differences.items()))
    mine, yours = summary.label(best), summary.label(second)
    if found is None:
        return (
            f"Whether {mine} is better than the runner-up, {yours}, cannot be said: there is no "
            "spread over seeds, and the number of validation photos is not known."
        )
    how = f"95 % interval {interval_words(summary, found)}, {method_words(summary, found, second)}"
    points = _points(summary, found.mean)
    if found.within_noise:
        return f"{mine} is within noise of the runner-up, {yours}: {points} apart ({how})."
    return f"{mine} is better than the runner-up, {yours}, by {points} ({how})."


def _others(summary: Summary) -> str:
    every = list(summary.differences.items())
    near = [group for group, found in every[1:] if found and found.within_noise]
    unknown = sum(found is None for _, found in every)
    second = every[0][1] if every else None
    words = []
    if second is not None and len(every) > 1:
        too = second.within_noise
        if near and too and len(near) == len(every) - 1:
            words.append(
                f"So are all {len(every)} others." if len(near) > 1 else "So is the third."
            )
        elif near:
            shown = "; ".join(summary.label(group) for group in near[:_SHOWN])
            more = f"; and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
            words.append(f"Within noise of it{' too' if too else ', though'}: {shown}{more}.")
        elif not unknown:
            words.append(f"No {'further' if too else 'other'} setting is within noise of it.")
        if unknown:
            words.append(f"Of {_count(unknown, 'other', 'others')} it cannot be said.")
    waiting = len(summary.groups) - len(summary.ranked)
    if waiting:
        words.append(f"{_count(waiting, 'setting has', 'settings have')} no result yet.")
    return " ".join(words)


def _test(summary: Summary, best: Group) -> str:
    if best.test is None:
        return "The chosen setting was not measured on test photos."
    error = summary.percent(best.test.mean)
    return f"Test error of the chosen setting: {error} ({spread_words(summary, best.test)})."


def _caveats(summary: Summary, best: Group, valid: Spread) -> list[str]:
    words = []
    if len(best.counted) < len(best.runs):
        words.append(f"Of its {len(best.runs)} runs {len(best.counted)} count so far.")
    if _other_photos(summary):
        words.append(
            "The runs were not all measured on the same photos in the same splits: part of the "
            "differences may be the photos'."
        )
    methods = {found.method for found in summary.differences.values() if found}
    if best.photos and methods & {"paired", "welch"}:
        luck = "training and of the split" if _split_by_seed(summary) else "training"
        error = _points(summary, standard_error(valid.mean, best.photos))
        words.append(
            f"Seeds show the luck of {luck}, on {best.photos:,} validation photos; with other "
            f"photos an error of {summary.percent(valid.mean)} would move by about {error} more "
            "(binomial standard error)."
        )
    if len(summary.differences) >= _MANY:
        flattered = "the lowest of many is flattered: "
        flattered += "the test error is the fair figure" if best.test else "measure it anew"
        words.append(
            f"Each of the {len(summary.differences)} comparisons stands by itself, so some look "
            f"apart by chance; and {flattered}."
        )
    return words


def _fingerprints(summary: Summary) -> dict[str, set[str]]:
    """The data of the runs that count, by seed."""
    found: dict[str, set[str]] = {}
    for group in summary.ranked:
        for run in group.counted:
            found.setdefault(str(run.seed), set()).add(run.data)
    return found


def _other_photos(summary: Summary) -> bool:
    return any(len(data) > 1 for data in _fingerprints(summary).values())


def _split_by_seed(summary: Summary) -> bool:
    return len(set.union(*_fingerprints(summary).values())) > 1


def _points(summary: Summary, share: float) -> str:
    return f"{100 * share:.{summary.digits}f} points"


def _count(n: int, one: str, many: str) -> str:
    return f"1 {one}" if n == 1 else f"{n:,} {many}"
