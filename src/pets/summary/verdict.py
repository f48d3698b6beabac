"""The result of a sweep in plain sentences: the best setting, and whether it is more than noise."""

from __future__ import annotations

import pandas as pd

from pets.errors import PetsError
from pets.run_dir import RunDir
from pets.summary.settings import Difference, Setting, Summary, shrunk
from pets.training.looks import looks_at
from pets.training.table import contents_of_test

_MOST_NAMED = 4  # settings in a sentence


def verdict(summary: Summary) -> list[str]:
    """The sentences, the main one first.

    Settings are selected only on validation error; the test error is that of the selected setting.
    """
    if not summary.ranked:
        some = (summary.runs.state == "finished").any()
        nothing = f"No finished run has a {summary.label}"
        return [f"{nothing if some else 'No run has finished'}."]
    best = summary.ranked[0]
    error = f"{summary.percent(best.scores.mean())} {summary.label}"
    return [
        f"{': '.join(filter(None, (best.label, error)))}.",
        *_out_of_fold(summary),
        *_comparison(summary, best),
        *_test(summary, best),
        *_caveats(summary, best),
    ]


def _out_of_fold(summary: Summary) -> list[str]:
    pooled = summary.out_of_fold
    if not summary.over_folds:
        return []
    if pooled is None:
        return ["Its folds cannot be pooled: not all of its runs have their predictions."]
    low, high = (summary.percent(share, "") for share in pooled.interval)
    count = f"{pooled.folds} of {pooled.expected} folds" if pooled.folds < pooled.expected else ""
    lowest = [
        f"{name} ({summary.percent(float(row['recall']))})"
        for name, row in pooled.per_class.head(_MOST_NAMED).iterrows()
    ]
    return [
        f"Out of fold {summary.percent(pooled.found.accuracy)} of {pooled.photos:,} photos are "
        f"right (95 % interval {low} to {high} %), each predicted by a run that was not trained "
        f"on it{f' ({count} so far)' if count else ''}; the lowest classes: {', '.join(lowest)}."
    ]


def describe_sample(summary: Summary, errors: pd.Series[float]) -> str:
    """`mean of 3 runs, 7.1 to 8.5 %, standard deviation 0.7 points`."""
    if len(errors) == 1:
        return "one run"
    return (
        f"mean of {len(errors)} runs, {summary.percent(errors.min(), '')} to "
        f"{summary.percent(errors.max())}, standard deviation "
        f"{summary.percent(errors.std(), ' points')}"
    )


def describe_interval(summary: Summary, difference: Difference) -> str:
    """`-0.4 to 4.6 points`."""
    return f"{summary.percent(difference.low, '')} to {summary.percent(difference.high, ' points')}"


def _comparison(summary: Summary, best: Setting) -> list[str]:
    if len(summary.settings) == 1:
        sample = describe_sample(summary, best.scores)
        return [f"It is the only setting ({sample}): there is nothing to compare it with."]
    sentences = []
    if summary.ranked[1:]:
        second = summary.ranked[1]
        sentences.append(_against_runner_up(summary, best, second, second.difference))
    if summary.ranked[2:]:
        near = [setting.label for setting in summary.near_best[1:]]
        more = [f"{len(near) - _MOST_NAMED} more"] if len(near) > _MOST_NAMED else []
        names = "; ".join([*near[:_MOST_NAMED], *more]) or "no other setting"
        sentences.append(f"Within noise of the best: {names}.")
    without = summary.settings[len(summary.ranked) :]
    if pruned := sum(setting.pruned > 0 for setting in without):
        settings = "1 setting was" if pruned == 1 else f"{pruned:,} settings were"
        sentences.append(f"{settings} pruned as hopeless before the last epoch.")
    if waiting := len(without) - pruned:
        settings = "1 setting has" if waiting == 1 else f"{waiting:,} settings have"
        sentences.append(f"{settings} no result yet.")
    return sentences


def _against_runner_up(
    summary: Summary, best: Setting, second: Setting, difference: Difference | None
) -> str:
    if difference is None:
        return (
            f"Whether {best.label} is better than the runner-up, {second.label}, is unknown: "
            "there is no spread over seeds, and the number of validation photos is not known."
        )
    points = summary.percent(difference.mean, " points")
    why = f"(95 % interval {describe_interval(summary, difference)}, {difference.basis})."
    if difference.within_noise:
        return (
            f"{best.label} is within noise of the runner-up, {second.label}: {points} apart {why}"
        )
    return f"{best.label} is better than the runner-up, {second.label}, by {points} {why}"


def _test(summary: Summary, best: Setting) -> list[str]:
    errors = best.runs[f"test_{summary.monitor.short}"].dropna()
    if errors.empty:
        return ["The chosen setting was not measured on test photos."]
    mean, sample = summary.percent(errors.mean()), describe_sample(summary, errors)
    return [
        f"Test {summary.monitor.words} of the chosen setting: {mean} ({sample}).",
        _looks(summary, best.runs.run[errors.index]),
    ]


def _looks(summary: Summary, names: pd.Series[str]) -> str:
    """How often the test photos of some runs were looked at, as all runs of the sweep know."""
    runs = [RunDir(summary.folder / name) for name in summary.runs.run]
    try:
        sets = {frozenset(contents_of_test(RunDir(summary.folder / name))) for name in names}
    except PetsError as error:
        return f"How often its test photos were looked at is not known ({error})."
    most = max((looks_at([*contents], *runs) for contents in sets), key=lambda looks: looks.times)
    several = f"Of its {len(sets):,} sets of test photos, those seen most"
    return most.sentence("Its test photos" if len(sets) == 1 else several)


def _caveats(summary: Summary, best: Setting) -> list[str]:
    sentences = []
    if summary.mixed:
        sentences.append(
            f"The runs monitor different metrics ({', '.join(summary.mixed)}): they are compared "
            f"by the {summary.label}."
        )
    measured = pd.concat([setting.runs for setting in summary.ranked])
    if measured.groupby("seed").data.nunique().max() > 1 and not summary.over_folds:
        sentences.append(
            "The runs were not all measured on the same photos in the same splits: part of the "
            "differences may be due to the photos."
        )
    counted = summary.monitor.counts_photos and not summary.over_folds
    if best.photos and len(best.scores) > 1 and counted:
        _, error = shrunk(best.losses.mean(), best.photos)
        source = "training" if measured.data.nunique() == 1 else "training and of the split"
        sentences.append(
            f"The spread over seeds covers only the randomness of {source}; on a different sample "
            f"of {best.photos:,} photos the {summary.monitor.words} would vary by a further "
            f"{summary.percent(error, ' points')} (binomial standard error)."
        )
    if summary.ranked[2:]:
        words = summary.monitor.words
        remedy = f"the test {words} is the unbiased estimate"
        if best.runs[f"test_{summary.monitor.short}"].isna().all():
            remedy = "measure it on photos that were not used for selection"
        sentences.append(
            f"With {len(summary.ranked) - 1} comparisons, some differences will look significant "
            f"by chance, and the {'highest' if summary.monitor.maximize else 'lowest'} of many "
            f"{'errors' if words == 'error' else 'values'} is optimistically biased: {remedy}."
        )
    return sentences
