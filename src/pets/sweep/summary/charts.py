"""Charts of a sweep: its settings one below another, two keys as a grid, the effect of each key."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from pets.io.figures import BLUE, GREY, ORANGE, as_svg, drawn_quietly, plain
from pets.sweep.summary.summary import Effect, Grid, Summary
from pets.sweep.summary.text import describe_states
from pets.sweep.summary.values import SEED, shorten
from pets.sweep.summary.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_SETTINGS = 30
_MOST_EFFECTS = 6  # in the picture; the page shows all
_MOST_TICKS = 12
_WIDE_RANGE = 5.0  # highest by lowest error: one diverged run would hide how good ones differ
_TALL = 12  # settings beside which two panels fit one below another


def as_png(summary: Summary) -> bytes:
    """The sentences and all charts in one picture."""
    from matplotlib.figure import Figure

    settings = min(len(summary.ranked), _MOST_SETTINGS)
    grid = summary.grid if summary.ranked else None
    effects = _drawn_effects(summary)[:_MOST_EFFECTS]
    panels = 1 if grid else len(effects)
    columns = 1 if panels < 2 or (panels == 2 and settings > _TALL) else 2
    rows = -(-panels // columns)
    rows_height = max(2.9 * rows, 0.3 * len(grid.rows) + 1.2 if grid else 0)
    height = max(3.2, 0.3 * settings + 1.0, rows_height) + 1.3
    figure = Figure(figsize=(13 if panels else 8, height), layout="constrained")
    result = verdict(summary)
    lines = [result.headline, f"{describe_states(summary)}. {result.comparison}"]
    title = "\n".join(textwrap.fill(plain(line, 600), 140 if panels else 85) for line in lines)
    with drawn_quietly():
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        left, *right = figure.subfigures(1, 2 if panels else 1, squeeze=False, wspace=0.03)[0]
        _draw_settings(left.subplots(), summary)
        if grid:
            _draw_grid(right[0].subplots(), grid, summary)
        elif panels:
            axes = list(right[0].subplots(rows, columns, squeeze=False).flat)
            for effect, each in zip(effects, axes, strict=False):
                _draw_effect(each, effect, summary)
            for unused in axes[panels:]:
                unused.axis("off")
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110, facecolor="white")
    return file.getvalue()


def as_svgs(summary: Summary) -> dict[str | Effect, str]:
    """The charts as data URIs for the page: `settings`, `grid`, and one for each effect."""
    from matplotlib.figure import Figure

    charts: dict[str | Effect, str] = {}
    if summary.ranked:
        height = 0.28 * min(len(summary.ranked), _MOST_SETTINGS) + 1.2
        figure = Figure(figsize=(8, height), layout="constrained")
        _draw_settings(figure.subplots(), summary)
        charts["settings"] = as_svg(figure)
    if summary.ranked and summary.grid:
        figure = Figure(figsize=(8, 0.35 * len(summary.grid.rows) + 1.5), layout="constrained")
        _draw_grid(figure.subplots(), summary.grid, summary)
        charts["grid"] = as_svg(figure)
    for effect in _drawn_effects(summary):
        figure = Figure(figsize=(5.6, 3.4), layout="constrained")
        _draw_effect(figure.subplots(), effect, summary)
        charts[effect] = as_svg(figure)
    return charts


def _drawn_effects(summary: Summary) -> list[Effect]:
    return [e for e in summary.effects if len(e.levels) > 1] if summary.ranked else []


def _draw_settings(axes: Axes, summary: Summary) -> None:
    """Runs, range and mean of each setting, the best at the top and what may be as good in blue."""
    settings = summary.ranked[:_MOST_SETTINGS]
    if not settings:
        axes.text(0.5, 0.5, "no validation error yet", ha="center", va="center", color=GREY)
        axes.axis("off")
        return
    for y, setting in enumerate(settings):
        assert setting.valid is not None
        colour = BLUE if summary.near_best(setting) else GREY
        errors = [100 * error for error in setting.valid.values]
        axes.plot([min(errors), max(errors)], [y, y], color=colour)
        axes.plot(errors, [y] * len(errors), "|", color=colour, ms=7)
        axes.plot(100 * setting.valid.mean, y, "o", color=colour, ms=7)
        axes.annotate(
            summary.number(setting.valid.mean),
            (1.0, y), xycoords=axes.get_yaxis_transform(), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    labels = [" · ".join(shorten(text, 24) for text in s.values) or "all runs" for s in settings]
    axes.set_yticks(range(len(settings)), [plain(label, 60) for label in labels], fontsize=8)
    axes.set_ylim(len(settings) - 0.4, -0.6)
    axes.set_xlabel("validation error in %: runs, range and mean")
    _scale_errors(axes, "x", summary)
    cut = len(settings) < len(summary.ranked)
    title = f"the best {len(settings)} of {len(summary.ranked)} settings" if cut else "settings"
    title += "; blue: the best, and within noise of it" if len(settings) > 1 else ""
    axes.set_title(title, loc="left", fontsize=9)
    axes.annotate(
        plain(" · ".join(summary.names[key] for key in summary.keys), 80),
        (0, 0), xycoords="axes fraction", xytext=(-6, -16), textcoords="offset points",
        ha="right", fontsize=8, color=GREY,
    )  # fmt: skip
    axes.grid(axis="x", alpha=0.25)


def _draw_grid(axes: Axes, grid: Grid, summary: Summary) -> None:
    """The mean errors of two keys' values; the bluer the lower, the best one framed."""
    import numpy as np
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Rectangle

    low, high, logarithmic = _error_range(summary)
    norm = (
        (LogNorm if logarithmic else Normalize)(low, high)
        if high > low
        else Normalize(0, 2 * high or 1)
    )
    shades = np.full((len(grid.rows), len(grid.columns)), np.nan)
    for (y, x), _ in np.ndenumerate(shades):
        setting = grid.cells[y][x]
        if setting is None or setting.valid is None:
            axes.text(x, y, "–", ha="center", va="center", color=GREY)
            continue
        shades[y, x] = norm(100 * setting.valid.mean)
        label = summary.number(setting.valid.mean)
        if len(grid.columns) <= 6 and setting.valid.sd is not None:
            label += f" ± {summary.number(setting.valid.sd)}"
        colour = "white" if shades[y, x] < 0.45 else "black"
        axes.text(x, y, label, ha="center", va="center", color=colour, fontsize=9)
        if setting is summary.best:
            corner = (x - 0.47, y - 0.46)
            axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, ec=ORANGE, lw=2.5))
    axes.imshow(shades, cmap="Blues_r", vmin=0, vmax=1.25, aspect="auto")
    axes.set_xticks(range(len(grid.columns)), [plain(shorten(text), 16) for text in grid.columns])
    axes.set_yticks(range(len(grid.rows)), [plain(shorten(text), 24) for text in grid.rows])
    axes.set_xlabel(plain(grid.keys[1], 60))
    axes.set_ylabel(plain(grid.keys[0], 40))
    axes.set_title("validation error in %, mean ± standard deviation", loc="left", fontsize=9)


def _draw_effect(axes: Axes, effect: Effect, summary: Summary) -> None:
    """All finished runs over the values of a key, and their means."""
    few = len(effect.levels) <= _MOST_TICKS
    by_number = effect.numeric and effect.key != SEED and not few
    means: list[tuple[float, float]] = []
    several = False
    for index, level in enumerate(effect.levels):
        if level.errors is None:
            continue
        x = level.number if by_number and level.number is not None else index
        errors = [100 * error for error in level.errors.values]
        several |= len(errors) > 1
        axes.plot([x] * len(errors), errors, "o", color=GREY, alpha=0.6, ms=4.5, mew=0)
        means.append((x, 100 * level.errors.mean))
    line = "o-" if effect.numeric and effect.key != SEED and few else "o"
    axes.plot(*zip(*means, strict=True), line, color=BLUE, ms=7 if few else 4, lw=1.4)
    if few:
        width = max(8, 60 // len(effect.levels))
        labels = [plain(shorten(level.text, width), width) for level in effect.levels]
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    elif not by_number:
        axes.set_xticks([])
    elif effect.logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel(plain(effect.key, 60))
    axes.set_ylabel("validation error in %", fontsize=9)
    _scale_errors(axes, "y", summary)
    title = "every run, and the mean" if several else "every run"
    axes.set_title("luck: the seed alone" if effect.key == SEED else title, loc="left", fontsize=9)
    axes.grid(axis="y", alpha=0.25)


def _error_range(summary: Summary) -> tuple[float, float, bool]:
    """The lowest and highest error in %, and whether they need a logarithmic axis."""
    errors = [100 * e for setting in summary.ranked if setting.valid for e in setting.valid.values]
    low, high = min(errors), max(errors)
    return low, high, low > 0 and high / low >= _WIDE_RANGE


def _scale_errors(axes: Axes, which: str, summary: Summary) -> None:
    """The axis of errors, the same in all charts of a summary."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high, logarithmic = _error_range(summary)
    if logarithmic:
        axes.set(**{f"{which}scale": "log", f"{which}lim": (low / 1.1, high * 1.1)})
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.06 * (high - low) or 1.0
        start = low - margin if low > margin else min(low, 0) - margin / 2
        axes.set(**{f"{which}lim": (start, high + margin)})
