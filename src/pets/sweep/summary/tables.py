"""The summary as CSV and as lines for the screen; what its tables say."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from urllib.parse import quote

from pets.io.csv_cells import write_cell
from pets.sweep.summary.groups import Group
from pets.sweep.summary.runs import Run
from pets.sweep.summary.settings import brief, value
from pets.sweep.summary.summary import Summary
from pets.sweep.summary.verdict import interval_words, verdict

_ON_SCREEN = 10
_WIDEST = 24


def as_csv(summary: Summary) -> str:
    """A row a run; errors and accuracies are shares, empty where not known."""
    stages, others = stages_of(summary), other_metrics(summary)
    rows = [
        {
            "number": run.number,
            "run": run.path.name,
            "state": run.state,
            **{key: value(run, key) for key in summary.swept},
            "valid_error": run.valid.error,
            "valid_accuracy": run.valid.accuracy,
            "valid_loss": run.valid.loss,
            **{f"valid_{name}": run.valid.others.get(name) for name in others},
            "best_epoch_error": run.best,
            "best_epoch": run.best_epoch,
            "last_epoch_error": run.so_far,
            "test_error": run.test.error,
            "test_accuracy": run.test.accuracy,
            "test_loss": run.test.loss,
            **{f"test_{name}": run.test.others.get(name) for name in others},
            "seconds": None if run.seconds is None else round(run.seconds, 3),
            **{f"images_per_second/{stage}": run.speeds.get(stage) for stage in stages},
            "started": run.started,
            "ended": run.ended,
            "updated": run.updated,
            "position": run.position,
            "error": run.error,
            "report": f"{run.path.name}/{run.report.name}" if run.report else None,
        }
        for run in summary.runs
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(write_cell, rows[0]))
    writer.writerows(map(write_cell, row.values()) for row in rows)
    return text.getvalue()


def on_screen(summary: Summary) -> list[str]:
    """A short table and the sentences."""
    header, rows = settings_table(summary)
    lines = [f"{summary.folder}: {state_words(summary)}"]
    if summary.ranked:
        shown = [
            [brief(text, _WIDEST) for text in row[:-1]] + row[-1:] for row in rows[:_ON_SCREEN]
        ]
        widths = [max(map(len, column)) for column in zip(header, *shown, strict=True)]
        lines.append("")
        lines += [
            "  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in [header, *shown]
        ]
        if len(rows) > len(shown):
            lines.append(f"  and {len(rows) - len(shown)} more")
    lines += ["", *verdict(summary).sentences]
    for run in summary.troubled[:_ON_SCREEN]:
        lines.append(brief(f"{run.path.name}: {run.state}, {run.error or run.position}", 160))
    if len(summary.troubled) > _ON_SCREEN:
        lines.append(f"and {len(summary.troubled) - _ON_SCREEN} more")
    return lines


def state_words(summary: Summary) -> str:
    """`12 of 18 runs finished, 2 running, 4 waiting`."""
    runs = "run" if len(summary.runs) == 1 else "runs"
    words = [f"{summary.finished} of {len(summary.runs)} {runs} finished"]
    words += [f"{n} {state}" for state, n in summary.states.items() if state != "finished"]
    return ", ".join(words)


def stages_of(summary: Summary) -> list[str]:
    """Every stage whose speed is known, in the order of the runs."""
    return list(dict.fromkeys(stage for run in summary.runs for stage in run.speeds))


def other_metrics(summary: Summary) -> list[str]:
    """Every metric beside error, accuracy and loss, in the order of the runs."""
    return list(dict.fromkeys(name for run in summary.runs for name in run.valid.others))


def settings_table(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a setting, the best first."""
    header = [summary.names[key] for key in summary.keys]
    header += ["validation error", "sd", "range", "runs", "beside the best"]
    return header, [_settings_row(summary, group) for group in summary.groups]


def _settings_row(summary: Summary, group: Group) -> list[str]:
    count = f"{len(group.counted)} of {len(group.runs)}"
    if group.valid is None:
        return [*group.settings, "–", "", "", count, ""]
    digits, deviation = summary.digits, group.valid.deviation
    low, high = (f"{100 * x:.{digits}f}" for x in (group.valid.low, group.valid.high))
    return [
        *group.settings,
        summary.percent(group.valid.mean),
        "" if deviation is None else f"{100 * deviation:.{digits}f}",
        "" if deviation is None else f"{low} to {high}",
        count,
        beside_best(summary, group),
    ]


def beside_best(summary: Summary, group: Group) -> str:
    """`best`, or how much higher the error is: the interval, and whether it is noise."""
    if group is summary.best:
        return "best"
    found = summary.differences.get(group)
    if found is None:
        return "not known"
    noise = ", within noise" if found.within_noise else ""
    return f"{interval_words(summary, found)}{noise}"


def valid_words(summary: Summary, run: Run) -> str:
    """The validation error of a finished run, or how far another one has come."""
    if run.valid.error is not None:
        return summary.percent(run.valid.error)
    return "" if run.so_far is None else f"so far {summary.percent(run.so_far)}"


def link(path: Path, folder: Path) -> str:
    """A path below the summary's folder as a relative address."""
    return quote(os.path.relpath(path, folder))
