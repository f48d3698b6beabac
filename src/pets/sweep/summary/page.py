"""The summary as one HTML file that asks the net for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pets.report.template import own, template
from pets.sweep.summary.picture import effect_svg
from pets.sweep.summary.runs import Run
from pets.sweep.summary.settings import identity, value
from pets.sweep.summary.summary import Summary
from pets.sweep.summary.tables import (
    beside_best,
    link,
    other_metrics,
    stages_of,
    state_words,
    valid_words,
)
from pets.sweep.summary.verdict import spread_words, verdict

_REPORT = "pets.report"
_OWN = "pets.sweep.summary"
_MOST_LEVELS = 20  # in a table below a chart
SWEEP_FILE = "sweep.yaml"


@dataclass(frozen=True)
class Column:
    """A column of the table of runs; one without `sorts` has a heading that is no button."""

    name: str
    title: str = ""
    sorts: bool = True


@dataclass(frozen=True)
class Cell:
    """What a cell shows, what it is sorted by, and where it leads."""

    text: str
    key: str | float = ""
    href: str = ""
    note: str = ""


def as_page(summary: Summary) -> str:
    """The page; its links lead to the runs from the summary's folder."""
    columns, rows = _runs(summary)
    asked = summary.folder / SWEEP_FILE
    context: dict[str, Any] = {
        "summary": summary,
        "verdict": verdict(summary),
        "states": state_words(summary),
        "spread_words": lambda spread: spread_words(summary, spread),
        "beside_best": lambda group: beside_best(summary, group),
        "places": _places(summary),
        "charts": {
            effect.key: effect_svg(summary, effect)
            for effect in summary.effects
            if summary.ranked and len(effect.levels) > 1
        },
        "most_levels": _MOST_LEVELS,
        "columns": columns,
        "rows": rows,
        "troubled": [(run, _to(run, summary), _log(run, summary)) for run in summary.troubled],
        "asked": asked.read_text(encoding="utf-8", errors="replace") if asked.is_file() else "",
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "style": own(_REPORT, "page.css") + own(_OWN, "page.css"),
        "script": own(_REPORT, "sort.js"),
    }
    page = template(_OWN, "page.html", sort_key=_sort_key, unbroken=_unbroken)
    return str(page.render(context))


def _places(summary: Summary) -> dict[Any, tuple[float, float, float]]:
    """Of every setting: lowest error, mean and highest as percentages of a bar's width."""
    scale = summary.scale
    found = {}
    for group in summary.ranked:
        if scale and group.valid:
            spread = group.valid
            low, mean, high = (100 * scale.place(x) for x in (spread.low, spread.mean, spread.high))
            found[group] = (low, mean, high)
    return found


def _runs(summary: Summary) -> tuple[list[Column], list[list[Cell]]]:
    stages = stages_of(summary)
    columns = [Column("run"), Column("state")]
    columns += [Column(summary.names[key], key) for key in summary.swept]
    columns += [Column("validation error"), Column("accuracy"), Column("loss")]
    columns += [Column(name.replace("_", " ")) for name in other_metrics(summary)]
    if summary.best_differs:
        columns.append(Column("best epoch", "the lowest validation error after an epoch"))
    columns.append(
        Column("test error", "not for choosing: the choice is by validation", sorts=False)
    )
    columns.append(Column("seconds", "training and what it needed"))
    several = len(stages) > 1
    columns += [Column(f"images/s {stage}" if several else "images/s") for stage in stages]
    columns += [Column("started"), Column("ended"), Column("report")]
    return columns, [_row(summary, run, stages) for run in summary.runs]


def _row(summary: Summary, run: Run, stages: list[str]) -> list[Cell]:
    place = run.path.name if run.number is None else run.number
    going = run.state not in ("finished", "waiting", "unreadable")
    heard = f"{run.position}, {_local(run.updated)}" if run.updated else run.position
    cells = [
        Cell(run.path.name, place, _to(run, summary)),
        Cell(run.state, run.state, note=heard if going else ""),
    ]
    for key in summary.swept:
        text = value(run, key)
        cells.append(Cell(text, _sort_key(text)))
    measured = "" if run.valid.error is None else run.valid.error
    cells.append(Cell(valid_words(summary, run) or "–", measured))
    cells.append(_share(summary, run.valid.accuracy))
    cells.append(_number(run.valid.loss, "{:.3f}"))
    cells += [_number(run.valid.others.get(name), "{:.4f}") for name in other_metrics(summary)]
    if summary.best_differs:
        best = _share(summary, run.best)
        cells.append(Cell(best.text, best.key, note=run.best_epoch))
    cells.append(_share(summary, run.test.error))
    cells.append(_number(run.seconds, "{:,.1f}"))
    cells += [_number(run.speeds.get(stage), "{:,.0f}") for stage in stages]
    cells += [Cell(_local(time) or "–", time) for time in (run.started, run.ended)]
    if run.report:
        return [*cells, Cell("report", "report", link(run.report, summary.folder))]
    return [*cells, Cell("–")]


def _sort_key(text: str) -> str | float:
    """A number where the value is one, however it was typed."""
    same = identity(text)
    return same if isinstance(same, float) else text


def _share(summary: Summary, share: float | None) -> Cell:
    return Cell("–") if share is None else Cell(summary.percent(share), share)


def _unbroken(sentence: str) -> str:
    """No line ends before a unit."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%").replace(
        " points", "\N{NO-BREAK SPACE}points"
    )


def _number(number: float | None, form: str) -> Cell:
    return Cell("–") if number is None else Cell(form.format(number), number)


def _local(time: str) -> str:
    """An ISO time as a clock here shows it."""
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return time


def _to(run: Run, summary: Summary) -> str:
    return f"{link(run.path, summary.folder)}/"


def _log(run: Run, summary: Summary) -> str:
    return link(run.log, summary.folder) if run.log else ""
