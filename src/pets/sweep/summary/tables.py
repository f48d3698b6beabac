"""The tables of a summary, as Markdown and for the page: settings, effects, trouble, runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from pets.io.markdown import Markdown, table, text
from pets.sweep.summary.runs import FINISHED, UNREADABLE, WAITING, Run
from pets.sweep.summary.statistics import Setting
from pets.sweep.summary.summary import Effect, Summary
from pets.sweep.summary.values import parse_value
from pets.sweep.summary.verdict import describe_interval


@dataclass(frozen=True)
class Column:
    """The heading of a column; `title` is what the pointer shows on the page."""

    name: str
    title: str = ""
    sorts: bool = True  # whether the page's table can be sorted by it


@dataclass(frozen=True)
class Cell:
    """What a cell shows, its value for sorting, a link, and a remark for the page."""

    text: str
    sort_by: str | float = ""
    link: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Columns, and rows with a cell for each."""

    columns: list[Column]
    rows: list[list[Cell]]

    def markdown(self) -> list[str]:
        """The lines of the table as Markdown."""
        header = [column.name for column in self.columns]
        return table(header, [[_markdown(cell) for cell in row] for row in self.rows])


def settings_table(summary: Summary) -> Table:
    """A row a setting, the best first."""
    columns = [Column(summary.names[key], key) for key in summary.keys]
    columns += [Column("validation error"), Column("sd"), Column("range", sorts=False)]
    columns += [Column("runs", "finished, of all"), Column("beside the best", sorts=False)]
    rows = []
    for setting in summary.settings:
        sample, counted = setting.valid, len(setting.counted)
        row = [_typed(text) for text in setting.values]
        row.append(_share(summary, sample.mean) if sample else Cell("–"))
        if sample and sample.sd is not None:
            ends = f"{summary.number(sample.low)} to {summary.number(sample.high)}"
            row += [Cell(summary.number(sample.sd), sample.sd), Cell(ends)]
        else:
            row += [Cell(""), Cell("")]
        row.append(Cell(f"{counted} of {len(setting.runs)}", counted))
        rows.append([*row, Cell(_against_best(summary, setting) if sample else "")])
    return Table(columns, rows)


def effect_table(summary: Summary, effect: Effect) -> Table:
    """A row a value of one key."""
    names = (summary.names[effect.key], "validation error, mean", "runs")
    rows = [
        [
            _typed(level.text),
            _share(summary, level.errors.mean) if level.errors else Cell("–"),
            Cell(f"{level.counted} of {level.runs}", level.counted),
        ]
        for level in effect.levels
    ]
    return Table([Column(name) for name in names], rows)


def troubled_table(summary: Summary) -> Table:
    """A row a run that failed, was stopped, or cannot be read."""
    rows = [
        [
            _run_cell(summary, run),
            Cell(run.state, note=run.position),
            Cell(run.error),
            _file(summary, run.log, "train.log"),
        ]
        for run in summary.troubled
    ]
    return Table([Column(name) for name in ("run", "state", "reason", "log")], rows)


def other_metrics(summary: Summary) -> list[str]:
    """The metrics beside error, accuracy and loss, in the order of the runs."""
    return list(dict.fromkeys(name for run in summary.runs for name in run.valid.others))


def runs_table(summary: Summary) -> Table:
    """A row a run, by their numbers."""
    columns = [Column("run"), Column("state")]
    columns += [Column(summary.names[key], key) for key in summary.swept]
    columns.append(Column("validation error"))
    columns += [Column(name.replace("_", " ")) for name in other_metrics(summary)]
    if summary.best_differs:
        columns.append(Column("best epoch", "the lowest validation error after an epoch"))
    columns += [
        Column("test error", "not for choosing: the choice is by validation", sorts=False),
        Column("seconds", "training and what it needed"),
        Column("report"),
    ]
    return Table(columns, [_run_row(summary, run) for run in summary.runs])


def _run_row(summary: Summary, run: Run) -> list[Cell]:
    row = [_run_cell(summary, run), Cell(run.state, run.state, note=_progress(run))]
    row += [_typed(run.value(key)) for key in summary.swept]
    if run.valid.error is None and run.last_epoch_error is not None:
        row.append(Cell(f"so far {summary.percent(run.last_epoch_error)}"))
    else:
        row.append(_share(summary, run.valid.error))
    for name in other_metrics(summary):
        value = run.valid.others.get(name)
        row.append(Cell("") if value is None else Cell(f"{value:.4f}", value))
    if summary.best_differs:
        row.append(_share(summary, run.best_epoch_error, note=run.best_epoch))
    row.append(_share(summary, run.test.error))
    row.append(Cell("" if run.seconds is None else f"{run.seconds:,.1f}", run.seconds or ""))
    return [*row, _file(summary, run.report, "report")]


def _against_best(summary: Summary, setting: Setting) -> str:
    """`best`, or how much higher the error is: the interval, and whether it is noise."""
    if setting is summary.best:
        return "best"
    difference = summary.differences.get(setting)
    if difference is None:
        return "not known"
    noise = ", within noise" if difference.within_noise else ""
    return f"{describe_interval(summary, difference)}{noise}"


def _share(summary: Summary, share: float | None, note: str = "") -> Cell:
    return Cell("", note=note) if share is None else Cell(summary.percent(share), share, note=note)


def _typed(text: str) -> Cell:
    """A typed value: sorted as a number where it is one."""
    value = parse_value(text)
    return Cell(text, value if isinstance(value, float) else text)


def _run_cell(summary: Summary, run: Run) -> Cell:
    name = run.path.name
    return Cell(name, name if run.number is None else run.number, f"{_link(summary, run.path)}/")


def _file(summary: Summary, file: Path | None, name: str) -> Cell:
    return Cell(name, name, _link(summary, file)) if file else Cell("")


def _link(summary: Summary, path: Path) -> str:
    return quote(os.path.relpath(path, summary.folder))


def _progress(run: Run) -> str:
    """How far an unfinished run is, and when that was written, in local time."""
    if run.state in (FINISHED, WAITING, UNREADABLE):
        return ""
    try:
        updated = datetime.fromisoformat(run.updated).astimezone()
    except ValueError:
        return run.position
    return f"{run.position}, {updated:%Y-%m-%d %H:%M:%S}"


def _markdown(cell: Cell) -> str:
    return Markdown(f"[{text(cell.text)}]({cell.link})") if cell.link else cell.text
