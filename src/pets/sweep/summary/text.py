"""A summary as CSV, as Markdown, and as lines for the screen."""

from __future__ import annotations

import csv
import io

from pets.io.csv_cells import write_cell
from pets.io.markdown import text
from pets.sweep.summary.runs import FINISHED
from pets.sweep.summary.summary import Summary
from pets.sweep.summary.tables import (
    effect_table,
    other_metrics,
    runs_table,
    settings_table,
    troubled_table,
)
from pets.sweep.summary.values import shorten
from pets.sweep.summary.verdict import verdict

_MOST_ON_SCREEN = 10
_WIDEST_CELL = 24


def as_csv(summary: Summary) -> str:
    """A row a run; errors and accuracies are shares of 1, empty where unknown."""
    others = other_metrics(summary)
    stages = dict.fromkeys(stage for run in summary.runs for stage in run.speeds)
    rows = [
        {
            "number": run.number,
            "run": run.path.name,
            "state": run.state,
            **{key: run.value(key) for key in summary.swept},
            "valid_error": run.valid.error,
            "valid_accuracy": run.valid.accuracy,
            "valid_loss": run.valid.loss,
            **{f"valid_{name}": run.valid.others.get(name) for name in others},
            "best_epoch_error": run.best_epoch_error,
            "best_epoch": run.best_epoch,
            "last_epoch_error": run.last_epoch_error,
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
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(write_cell, rows[0]))
    writer.writerows(map(write_cell, row.values()) for row in rows)
    return file.getvalue()


def as_markdown(summary: Summary) -> str:
    """The sentences and all tables; links lead from the summary's folder."""
    result = verdict(summary)
    lines = [f"# {text(result.headline)}", "", f"{describe_states(summary)}.", ""]
    lines += [line for sentence in result.sentences[1:] for line in (text(sentence), "")]
    lines += ["![Validation errors by settings](summary.png)", "", "## Settings", ""]
    lines += settings_table(summary).markdown()
    for effect in summary.effects:
        lines += ["", f"## Effect of {text(effect.key)}", ""]
        lines += effect_table(summary, effect).markdown()
    if summary.troubled:
        lines += ["", "## Failed, stopped or unreadable", "", *troubled_table(summary).markdown()]
    lines += ["", "## Runs", "", *runs_table(summary).markdown()]
    if summary.common:
        lines += ["", "## The same in all runs", ""]
        lines += [f"- {text(f'{key}={value}')}" for key, value in summary.common.items()]
    return "\n".join(lines) + "\n"


def on_screen(summary: Summary) -> list[str]:
    """A short table and the sentences."""
    lines = [f"{summary.folder}: {describe_states(summary)}"]
    if summary.ranked:
        settings = settings_table(summary)
        header = [column.name for column in settings.columns]
        rows = [
            [*(shorten(cell.text, _WIDEST_CELL) for cell in row[:-1]), row[-1].text]
            for row in settings.rows[:_MOST_ON_SCREEN]
        ]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines.append("")
        for row in (header, *rows):
            cells = (f"  {cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            lines.append("".join(cells).rstrip())
        if len(settings.rows) > len(rows):
            lines.append(f"  and {len(settings.rows) - len(rows)} more")
    lines += ["", *verdict(summary).sentences]
    for run in summary.troubled[:_MOST_ON_SCREEN]:
        lines.append(shorten(f"{run.path.name}: {run.state}, {run.error or run.position}", 160))
    if len(summary.troubled) > _MOST_ON_SCREEN:
        lines.append(f"and {len(summary.troubled) - _MOST_ON_SCREEN} more")
    return lines


def describe_states(summary: Summary) -> str:
    """`12 of 18 runs finished, 2 running, 4 waiting`."""
    runs = "run" if len(summary.runs) == 1 else "runs"
    others = (f", {n} {state}" for state, n in summary.states.items() if state != FINISHED)
    return f"{summary.finished} of {len(summary.runs)} {runs} finished{''.join(others)}"
