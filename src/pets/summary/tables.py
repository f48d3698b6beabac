"""The tables of a summary: for its page, as CSV and for the log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from pets.io.csv_cells import write_cell
from pets.summary.folds import OutOfFold
from pets.summary.settings import REPEATED, Setting, Summary, columns_of, shorten
from pets.summary.verdict import describe_interval, verdict

_MOST_ON_SCREEN = 10
_SHOWN = ("error", "accuracy", "loss", "photos", "mean_class_accuracy")  # not as further metrics


@dataclass(frozen=True)
class Cell:
    """The text of a cell, with its sort key and its link.

    There is a sort key if it is not the text; the link is relative to the summary's folder.
    """

    text: str
    sort_by: str | float | None = None
    link: str = ""


@dataclass(frozen=True)
class Table:
    columns: list[str]
    rows: list[list[Cell]]


def settings_table(summary: Summary) -> Table:
    """Return one row per setting, the best first."""
    names = [name for key, name in summary.names.items() if key not in REPEATED]
    columns = [*names, summary.label, "sd", "range", "runs", "vs. best"]
    rows = []
    for setting in summary.settings:
        errors, count = setting.scores, len(setting.scores)
        several = count > 1
        low, high = summary.percent(errors.min(), ""), summary.percent(errors.max(), "")
        row = [*map(_value, setting.values), _share(summary, errors.mean())]
        row.append(_share(summary, errors.std(), ""))
        row.append(Cell(f"{low} to {high}" if several else ""))
        row += [Cell(f"{count} of {setting.started}", count), Cell(_vs_best(summary, setting))]
        rows.append(row)
    return Table(columns, rows)


def classes_table(pooled: OutOfFold) -> Table:
    """Return one row per class of the out-of-fold predictions, the lowest accuracy first."""
    columns = ["class", "accuracy", "precision", "photos"]
    rows = [
        [
            Cell(str(name)),
            *(number("" if np.isnan(row[key]) else f"{100 * row[key]:.1f} %", row[key])
              for key in ("recall", "precision")),
            Cell(f"{row['photos']:,.0f}", float(row["photos"])),
        ]
        for name, row in pooled.per_class.iterrows()
    ]  # fmt: skip
    return Table(columns, rows)


def runs_table(summary: Summary) -> Table:
    """Return one row per run, ordered by number."""
    runs = summary.runs
    monitor = summary.monitor
    short, known = monitor.short, [f"valid_{name}" for name in (*_SHOWN, monitor.short)]
    others = [name for name in map(str, runs) if name.startswith("valid_") and name not in known]
    gained = (runs[f"best_epoch_{short}"] - summary.scores) * (1 if monitor.maximize else -1)
    best_epoch = ["best epoch"] if (gained > 1e-6).any() else []
    columns = ["run", "state", *summary.names.values(), summary.label]
    columns += [name.removeprefix("valid_").replace("_", " ") for name in others]
    columns += [*best_epoch, f"test {monitor.words}", "seconds", "report"]
    rows = []
    for run, values in zip(_rows(runs), summary.values.to_numpy(), strict=True):
        row = [
            _run(run),
            Cell(f"running, {run.position}" if run.state == "running" else run.state),
        ]
        row += map(_value, values)
        valid, last, best, test = (vars(run)[name] for name in columns_of(monitor))
        if math.isnan(valid) and not math.isnan(last):
            row.append(Cell(f"so far {summary.percent(last)}", ""))
        else:
            row.append(_share(summary, valid))
        row += [number(f"{vars(run)[name]:.4f}", vars(run)[name]) for name in others]
        if best_epoch:
            row.append(number(f"{summary.percent(best)} ({run.best_epoch})", best))
        row.append(_share(summary, test))
        row.append(number(f"{run.seconds:,.1f}", run.seconds))
        row.append(Cell("report", link=quote(run.report)) if run.report else Cell(""))
        rows.append(row)
    return Table(columns, rows)


def as_csv(summary: Summary) -> str:
    """Return one row per run; errors and accuracies are fractions, empty if unknown."""
    runs = summary.runs.astype({"valid_photos": "Int64", "test_photos": "Int64"})
    first = ["number", "run", "state"]
    results = runs.drop(columns=[*first, "seed", "data"])
    # As objects: older pandas would map whole numbers as floats.
    rows = pd.concat([runs[first], summary.values, results], axis=1).astype(object)
    return rows.map(write_cell).rename(columns=write_cell).to_csv(index=False, lineterminator="\n")


def on_screen(summary: Summary) -> list[str]:
    """Return a short table and the sentences, for the log."""
    lines = [f"{summary.folder}: {summary.states}", ""]
    if summary.ranked:
        settings = settings_table(summary)
        cells = [[shorten(cell.text) for cell in row] for row in settings.rows[:_MOST_ON_SCREEN]]
        shown = pd.DataFrame(cells, columns=settings.columns).to_string(index=False)
        lines += [*shown.splitlines(), *_more(len(settings.rows)), ""]
    lines += verdict(summary)
    for run in _rows(summary.troubled)[:_MOST_ON_SCREEN]:
        lines.append(shorten(f"{run.run}: {run.state}, {run.error or run.position}", 160))
    return [*lines, *_more(len(summary.troubled))]


def _rows(runs: pd.DataFrame) -> list[Any]:
    """The rows of a table, with their values as attributes."""
    records: list[Any] = runs.to_dict("records")
    return [SimpleNamespace(**run) for run in records]


def _more(count: int) -> list[str]:
    return [f"  and {count - _MOST_ON_SCREEN} more"] if count > _MOST_ON_SCREEN else []


def _vs_best(summary: Summary, setting: Setting) -> str:
    """Return `best`, or the interval of the difference and whether it is within noise."""
    if not len(setting.scores) or setting is summary.ranked[0]:
        return "best" if len(setting.scores) else ""
    if setting.difference is None:
        return "not known"
    noise = ", within noise" if setting.difference.within_noise else ""
    return f"{describe_interval(summary, setting.difference)}{noise}"


def _share(summary: Summary, share: float, unit: str = " %") -> Cell:
    return number(summary.percent(share, unit), share)


def number(shown: str, value: float | None) -> Cell:
    """Return a cell that sorts as a number, or an empty one for NaN and None."""
    if value is None or math.isnan(value):
        return Cell("", "")
    return Cell(shown, float(value))


def _value(value: str) -> Cell:
    """Return the cell of a key's value, sorted numerically if it is a number."""
    parsed = float(pd.to_numeric(value, errors="coerce"))
    return Cell(value, value if math.isnan(parsed) else parsed)


def _run(run: Any) -> Cell:
    order = run.run if pd.isna(run.number) else int(run.number)
    return Cell(run.run, order, f"{quote(run.run)}/")
