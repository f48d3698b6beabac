"""The figure of a summary: the settings one below another, then the errors over each key."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from pets.io.figures import BLUE, GREY, drawn_quietly, plain
from pets.summary.settings import REPEATED, Summary, shorten
from pets.summary.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_SETTINGS = 30
_MOST_KEYS, _COLUMNS = 6, 3
_MOST_TICKS = 12
_WIDE_RANGE = 5.0  # highest / lowest error from which the axis is logarithmic
_DECADE = 10.0
_WIDTH = 9  # inches
_TEXT = "medium"  # text size, also of titles


def as_png(summary: Summary) -> bytes:
    """Render the figure, below the main sentences, as PNG."""
    from matplotlib.figure import Figure

    title = [summary.states, *verdict(summary)[:2]]
    lines = "\n".join(textwrap.fill(plain(line, 600), 110) for line in title)
    figure = draw(summary, lines)
    if figure is None:
        figure = Figure(figsize=(_WIDTH, 2))
        figure.text(0.02, 0.5, lines)
    file = io.BytesIO()
    with drawn_quietly():
        figure.savefig(file, format="png", dpi=100, facecolor="white")
    return file.getvalue()


def draw(summary: Summary, title: str = "") -> Figure | None:
    """Draw the figure; None if no run has a result yet."""
    from matplotlib.figure import Figure

    if not summary.ranked:
        return None
    keys = list(summary.names)[:_MOST_KEYS]
    rows = -(-len(keys) // _COLUMNS)
    heights = [0.27 * min(len(summary.ranked), _MOST_SETTINGS) + 1.0, *[2.7] * rows]
    height = sum(heights) + (0.18 * title.count("\n") + 0.3 if title else 0)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=_TEXT)
    grid = figure.add_gridspec(1 + rows, _COLUMNS, height_ratios=heights)
    _draw_settings(figure.add_subplot(grid[0, :]), summary)
    for number, key in enumerate(keys):
        row, column = divmod(number, _COLUMNS)
        axes = figure.add_subplot(grid[1 + row, column])
        _draw_key(axes, summary, key)
        axes.set_ylabel(_label(summary) if column == 0 else "")
    return figure


def _draw_settings(axes: Axes, summary: Summary) -> None:
    """Plot runs, range and mean per setting, the best at the top, those within noise in blue."""
    settings = summary.ranked[:_MOST_SETTINGS]
    near_best = summary.near_best
    for y, setting in enumerate(settings):
        errors, colour = _scale(summary) * setting.scores, BLUE if setting in near_best else GREY
        axes.plot(errors, [y] * len(errors), "|-", color=colour, ms=7)
        axes.plot(errors.mean(), y, "o", color=colour, ms=7)
    labels = [plain(setting.label or "all runs", 50) for setting in settings]
    axes.set_yticks(range(len(settings)), labels)
    axes.set_ylim(len(settings) - 0.4, -0.6)
    axes.set_xlabel(f"{_label(summary)}: runs, range and mean")
    _scale_errors(axes, "x", summary)
    some = f"the best {len(settings)} of " if len(settings) < len(summary.ranked) else ""
    count = f"{some}{len(summary.ranked)} settings" if summary.ranked[1:] else "1 setting"
    axes.set_title(f"{count}; blue: the best, and within noise of it", loc="left", fontsize=_TEXT)
    axes.grid(axis="x", alpha=0.25)


def _draw_key(axes: Axes, summary: Summary, key: str) -> None:
    """Plot all finished runs over the values of a key, and the mean per value."""
    runs = summary.runs.assign(value=summary.values[key], score=summary.scores)
    runs = runs.dropna(subset="score")
    errors, numbers = _scale(summary) * runs.score, pd.to_numeric(runs.value, errors="coerce")
    ordered = runs.value.groupby(numbers.fillna(float("inf")), sort=True).unique().explode()
    numeric, few = numbers.notna().all(), len(ordered) <= _MOST_TICKS
    if numeric and not few:
        axes.plot(numbers, errors, "o", color=BLUE, ms=4)
        if numbers.min() > 0 and numbers.max() / numbers.min() >= _DECADE:
            axes.set_xscale("log")
    else:
        index = runs.value.map({value: x for x, value in enumerate(ordered)})
        means = errors.groupby(index).mean()
        axes.plot(index, errors, "o", color=GREY, alpha=0.6, ms=4.5, mew=0)
        axes.plot(means, "o-" if numeric and key not in REPEATED else "o", color=BLUE, ms=7, lw=1.4)
        axes.set_xlim(-0.5, len(ordered) - 0.5)
        width = max(6, 30 // len(ordered))
        labels = [plain(shorten(value, width), width) for value in ordered] if few else []
        axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(plain(key, 40))
    _scale_errors(axes, "y", summary)
    axes.grid(axis="y", alpha=0.25)


def _scale(summary: Summary) -> int:
    """Shares are shown in percent."""
    return 100 if summary.monitor.is_share else 1


def _label(summary: Summary) -> str:
    return f"{summary.label} in %" if summary.monitor.is_share else summary.label


def _scale_errors(axes: Axes, which: str, summary: Summary) -> None:
    """Scale the axis of errors equally in all panels."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = (_scale(summary) * end for end in (summary.scores.min(), summary.scores.max()))
    if low > 0 and high / low >= _WIDE_RANGE:
        axes.set(**{f"{which}scale": "log", f"{which}lim": (low / 1.1, high * 1.1)})
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.06 * (high - low) or 1.0
        axes.set(**{f"{which}lim": (low - margin, high + margin)})
