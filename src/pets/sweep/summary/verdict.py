"""The result of a sweep in plain sentences: the best setting, and whether it is more than noise."""

from __future__ import annotations

from dataclasses import dataclass

from pets.sweep.summary.statistics import Difference, Sample, Setting, standard_error
from pets.sweep.summary.summary import Summary

_MOST_NAMED = 4  # settings in a sentence


@dataclass(frozen=True)
class Verdict:
    """The sentences; one that does not apply is empty."""

    headline: str
    comparison: str = ""
    others: str = ""
    test: str = ""
    caveats: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        sentences = [f"{self.headline}.", self.comparison, self.others, self.test, *self.caveats]
        return [sentence for sentence in sentences if sentence]


def verdict(summary: Summary) -> Verdict:
    """The choice is by validation alone; the test error is that of the chosen setting."""
    best = summary.best
    if best is None or best.valid is None:
        some = summary.finished > 0
        return Verdict("No finished run has a validation error" if some else "No run has finished")
    error = f"{summary.percent(best.valid.mean)} validation error"
    return Verdict(
        ": ".join(filter(None, (summary.label(best), error))),
        comparison=_against_runner_up(summary, best, best.valid),
        others=" ".join(_against_others(summary)),
        test=_test(summary, best),
        caveats=tuple(_caveats(summary, best, best.valid)),
    )


def describe_sample(summary: Summary, sample: Sample) -> str:
    """`mean of 3 runs, 7.1 to 8.5 %, standard deviation 0.7 points`."""
    if sample.sd is None:
        return "one run"
    return (
        f"mean of {len(sample.values)} runs, {summary.number(sample.low)} to "
        f"{summary.percent(sample.high)}, standard deviation {_points(summary, sample.sd)}"
    )


def describe_interval(summary: Summary, difference: Difference) -> str:
    """`-0.4 to 4.6 points`."""
    return f"{summary.number(difference.low)} to {_points(summary, difference.high)}"


def _describe_method(summary: Summary, difference: Difference, other: Setting) -> str:
    first, second = difference.n
    if difference.method == "paired":
        return f"paired by seed, {first} seeds on the same photos"
    if difference.method == "welch":
        return f"Welch's, from the spread over {first} and {second} runs"
    photos = f"{first:,}" if first == second else f"{first:,} and {second:,}"
    single = summary.best is not None and len(summary.best.counted) == len(other.counted) == 1
    reason = "there is one run each" if single else "they have no spread over seeds to go by"
    return (
        f"from the chance that is in {photos} validation photos, since {reason}; taken as if each "
        "had photos of its own, so rather wide"
    )


def _against_runner_up(summary: Summary, best: Setting, valid: Sample) -> str:
    if len(summary.settings) == 1:
        return (
            f"It is the only setting ({describe_sample(summary, valid)}): there is nothing to "
            "compare it with."
        )
    if len(summary.ranked) == 1:
        return "No other setting has a result yet."
    second, difference = next(iter(summary.differences.items()))
    names = summary.label(best), summary.label(second)
    if difference is None:
        return (
            f"Whether {names[0]} is better than the runner-up, {names[1]}, cannot be said: there "
            "is no spread over seeds, and the number of validation photos is not known."
        )
    interval = describe_interval(summary, difference)
    source = f"(95 % interval {interval}, {_describe_method(summary, difference, second)})"
    points = _points(summary, difference.mean)
    if difference.within_noise:
        return f"{names[0]} is within noise of the runner-up, {names[1]}: {points} apart {source}."
    return f"{names[0]} is better than the runner-up, {names[1]}, by {points} {source}."


def _against_others(summary: Summary) -> list[str]:
    differences = list(summary.differences.items())
    near = [setting for setting, d in differences[1:] if d and d.within_noise]
    unknown = sum(d is None for _, d in differences)
    second = differences[0][1] if differences else None
    sentences = []
    if second is not None and len(differences) > 1:
        too = second.within_noise
        if near and too and len(near) == len(differences) - 1:
            all_others = f"So are all {len(differences)} others."
            sentences.append(all_others if len(near) > 1 else "So is the third.")
        elif near:
            names = "; ".join(summary.label(setting) for setting in near[:_MOST_NAMED])
            more = f"; and {len(near) - _MOST_NAMED} more" if len(near) > _MOST_NAMED else ""
            sentences.append(f"Within noise of it{' too' if too else ', though'}: {names}{more}.")
        elif not unknown:
            sentences.append(f"No {'further' if too else 'other'} setting is within noise of it.")
        if unknown:
            sentences.append(f"Of {_count(unknown, 'other', 'others')} it cannot be said.")
    if waiting := len(summary.settings) - len(summary.ranked):
        sentences.append(f"{_count(waiting, 'setting has', 'settings have')} no result yet.")
    return sentences


def _test(summary: Summary, best: Setting) -> str:
    if best.test is None:
        return "The chosen setting was not measured on test photos."
    error = summary.percent(best.test.mean)
    return f"Test error of the chosen setting: {error} ({describe_sample(summary, best.test)})."


def _caveats(summary: Summary, best: Setting, valid: Sample) -> list[str]:
    sentences = []
    if len(best.counted) < len(best.runs):
        sentences.append(f"Of its {len(best.runs)} runs {len(best.counted)} count so far.")
    data_by_seed: dict[str, set[str]] = {}
    for setting in summary.ranked:
        for run in setting.counted:
            data_by_seed.setdefault(str(run.seed), set()).add(run.data)
    if any(len(data) > 1 for data in data_by_seed.values()):
        sentences.append(
            "The runs were not all measured on the same photos in the same splits: part of the "
            "differences may be the photos'."
        )
    methods = {difference.method for difference in summary.differences.values() if difference}
    if best.photos and methods & {"paired", "welch"}:
        one_split = len(set.union(*data_by_seed.values())) == 1
        error = _points(summary, standard_error(valid.mean, best.photos))
        sentences.append(
            f"Seeds show the luck of training{'' if one_split else ' and of the split'}, on "
            f"{best.photos:,} validation photos; with other photos an error of "
            f"{summary.percent(valid.mean)} would move by about {error} more (binomial standard "
            "error)."
        )
    if len(summary.differences) > 1:
        fair = "the test error is the fair figure" if best.test else "measure it anew"
        sentences.append(
            f"Each of the {len(summary.differences)} comparisons stands by itself, so some look "
            f"apart by chance; and the lowest of many is flattered: {fair}."
        )
    return sentences


def _points(summary: Summary, share: float) -> str:
    return f"{summary.number(share)} points"


def _count(n: int, one: str, many: str) -> str:
    return f"1 {one}" if n == 1 else f"{n:,} {many}"
