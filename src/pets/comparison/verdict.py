"""A comparison in plain sentences, and the values that its page, Markdown and JSON share."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pets.comparison.comparison import Comparison, Side
from pets.comparison.differences import config_differences, data_difference
from pets.comparison.paired import SIGNIFICANT, adjusted, fewest_flips
from pets.data.photos import OTHER
from pets.training.table import load_table

_MOST_NAMED = 4  # classes in a sentence


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """`+3.4`: a difference of shares in percentage points, without their name."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def p_value(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.2g}"


def verdict(comparison: Comparison) -> list[str]:
    """Return the sentences, the main one first."""
    it, old, new = comparison.paired, comparison.old.name, comparison.new.name
    external = comparison.split == OTHER
    photos = f"{it.photos:,} {'other' if external else comparison.split} photos"
    low, high = it.interval
    if not it.flipped:
        first = f"{new} and {old} are right on the same photos: {percent(it.new)} of {photos}."
    elif it.significant:
        better = "better" if it.difference > 0 else "worse"
        first = (
            f"{new} is {better} than {old}: {100 * it.new:.1f} instead of {percent(it.old)} of "
            f"{photos} right."
        )
    else:
        first = (
            f"{new} and {old} cannot be told apart on {photos}: {100 * it.new:.1f} and "
            f"{percent(it.old)} right."
        )
    sentences = [
        first,
        f"The difference is {points(it.difference)} points (95 % interval {points(low)} to "
        f"{points(high)}, exact McNemar p {p_value(it.p)}). Photos right in the new run alone: "
        f"{it.only_new:,}, in the old run alone: {it.only_old:,}, in both: {it.both:,}, in "
        f"neither: {it.neither:,}.",
    ]
    if it.flipped < (least := fewest_flips()):
        sentences.append(
            f"With fewer than {least} flips (photos that only one of the runs gets right), no "
            "difference is more than chance: only more photos could tell."
        )
    sentences.append(_classes(comparison))
    sentences.append(
        "This compares two runs, not two settings: another seed gives other runs "
        "(pets train -m seed=0,1,2, pets summarize)."
    )
    if comparison.looks is not None:
        sentences.append(comparison.looks.sentence())
    return [*sentences, *comparison.notes]


def _classes(comparison: Comparison) -> str:
    per_class = comparison.per_class
    telling = [name for name, p in adjusted(per_class).items() if p < SIGNIFICANT]
    if not telling:
        return "No single class differs by more than chance, given how many there are."
    named = ", ".join(
        f"{name} ({points(per_class[name].difference)})" for name in telling[:_MOST_NAMED]
    )
    more = len(telling) - _MOST_NAMED
    rest = f" and {more:,} more" if more > 0 else ""
    return f"These classes differ by more than chance, in points: {named}{rest}."


def values(comparison: Comparison) -> dict[str, Any]:
    """Return everything that was found as plain values, as `compare.json` has it."""
    old, new = comparison.old.trained.run, comparison.new.trained.run
    tables = [load_table(run, comparison.root) for run in (old, new)]
    p_values = adjusted(comparison.per_class)
    return {
        "old": comparison.old.name,
        "new": comparison.new.name,
        "verdict": verdict(comparison),
        "split": comparison.split,
        "root": str(comparison.root),
        "classes": comparison.classes,
        **comparison.paired.as_dict(),
        "significant": comparison.paired.significant,
        "differently_wrong": comparison.differently_wrong,
        "looks": None if comparison.looks is None else comparison.looks.as_dict(),
        "per_class": {
            name: {**paired.as_dict(), "p_adjusted": p_values[name]}
            for name, paired in comparison.per_class.items()
        },
        "calibration": {
            "old": _calibration(comparison.old),
            "new": _calibration(comparison.new),
        },
        "flips": {way: _rows(comparison.flips(way)) for way in ("lost", "won")},
        "config": [row._asdict() for row in config_differences(old, new)],
        "data": data_difference(*tables).as_dict(),
    }


def _calibration(side: Side) -> dict[str, float | int | None]:
    return {
        "temperature": side.trained.temperature,
        "loss": side.loss,
        "ece": side.reliability.ece,
        "outside": side.choices_outside,
    }


def _rows(table: pd.DataFrame) -> Any:
    return table.drop(columns="flip").to_dict("records")
