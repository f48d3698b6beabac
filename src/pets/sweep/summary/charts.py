"""Charts of a sweep: the settings one below another, and what each key does to the error."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pets.io.figures import BLUE, GREY, ORANGE, plain
from pets.sweep.summary.effects import Effect, Matrix
from pets.sweep.summary.settings import SEED, brief
from pets.sweep.summary.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SETTINGS = 30
_MOST_TICKS = 12
_BETWEEN = " · "
_NICE = (1, 1.5, 2, 3, 4, 5, 6, 8)  # ticks of a logarithmic axis of errors, times powers of ten


def draw_settings(axes: Axes, summary: Summary) -> None:
    """Mean and range of each setting, the best at the top; blue is what may be as good as it."""
    groups = summary.ranked[:MOST_SETTINGS]
    if not groups:
        axes.text(0.5, 0.5, "no validation error yet", ha="center", va="center", color=GREY)
        axes.axis("off")
        return
    for place, group in enumerate(groups):
        assert group.valid is not None
        found = summary.differences.get(group)
        near = group is summary.best or (found is not None and found.within_noise)
        colour = BLUE if near else GREY
        axes.plot([100 * group.valid.low, 100 * group.valid.high], [place, place], color=colour)
        errors = [100 * error for error in group.valid.values]
        axes.plot(errors, [place] * len(errors), "|", color=colour, ms=7)
        axes.plot(100 * group.valid.mean, place, "o", color=colour, ms=7)
        axes.annotate(
            f"{100 * group.valid.mean:.{summary.digits}f}",
            (1.0, place), xycoords=axes.get_yaxis_transform(), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(
        range(len(groups)),
        [
            plain(_BETWEEN.join(brief(text, 24) for text in group.settings) or "all runs", 60)
            for group in groups
        ],
        fontsize=8,
    )
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlabel("validation error in %: runs, range and mean")
    _error_axis(axes, "x", summary)
    more = len(summary.ranked) - len(groups)
    title = f"the best {len(groups)} of {len(groups) + more} settings" if more else "settings"
    title += "; blue: the best, and within noise of it" if len(groups) > 1 else ""
    axes.set_title(title, loc="left", fontsize=9)
    names = _BETWEEN.join(summary.names[key] for key in summary.keys)
    axes.annotate(
        plain(names, 80), (0, 0), xycoords="axes fraction", xytext=(-6, -16),
        textcoords="offset points", ha="right", fontsize=8, color=GREY,
    )  # fmt: skip
    axes.grid(axis="x", alpha=0.25)


def draw_matrix(axes: Axes, table: Matrix, summary: Summary) -> None:
    """Mean errors of two keys' values; the lowest has a frame."""
    import numpy as np

    scale = summary.scale
    assert scale is not None
    shades = np.full((len(table.rows), len(table.columns)), np.nan)
    for row, groups in enumerate(table.cells):
        for column, group in enumerate(groups):
            if group is None or group.valid is None:
                axes.text(column, row, "–", ha="center", va="center", color=GREY)
                continue
            shade = scale.place(group.valid.mean)
            shades[row, column] = shade
            words = f"{100 * group.valid.mean:.{summary.digits}f}"
            if len(table.columns) <= 6 and group.valid.deviation is not None:
                words += f" ± {100 * group.valid.deviation:.{summary.digits}f}"
            colour = "white" if shade < 0.45 else "black"
            axes.text(column, row, words, ha="center", va="center", color=colour, fontsize=9)
            if group is summary.best:
                from matplotlib.patches import Rectangle

                corner = (column - 0.47, row - 0.46)
                frame = Rectangle(corner, 0.94, 0.92, fill=False, ec=ORANGE, lw=2.5)
                axes.add_patch(frame)
    axes.imshow(shades, cmap="Blues_r", vmin=0, vmax=1.25, aspect="auto")
    axes.set_xticks(range(len(table.columns)), [plain(brief(text), 16) for text in table.columns])
    axes.set_yticks(range(len(table.rows)), [plain(brief(text), 24) for text in table.rows])
    axes.set_xlabel(plain(table.keys[1], 60))
    axes.set_ylabel(plain(table.keys[0], 40))
    axes.set_title("validation error in %, mean ± standard deviation", loc="left", fontsize=9)


def draw_effect(axes: Axes, effect: Effect, summary: Summary) -> None:
    """All runs that count over the values of a key, and the means."""
    counted = [level for level in effect.levels if level.errors]
    places = _places(axes, effect)
    means: list[tuple[float, float]] = []
    for level in counted:
        assert level.errors is not None
        errors = [100 * error for error in level.errors.values]
        axes.plot([places(level)] * len(errors), errors, "o", color=GREY, alpha=0.6, ms=4.5, mew=0)
        means.append((places(level), 100 * level.errors.mean))
    if means:
        ordered = effect.numeric and effect.key != SEED and len(means) <= _MOST_TICKS
        line = "o-" if ordered else "o"
        size = 7 if len(means) <= _MOST_TICKS else 4
        axes.plot(*zip(*means, strict=True), line, color=BLUE, ms=size, lw=1.4)
    axes.set_xlabel(plain(effect.key, 60))
    axes.set_ylabel("validation error in %", fontsize=9)
    _error_axis(axes, "y", summary)
    several = any(len(level.errors.values) > 1 for level in counted if level.errors)
    what = "every run, and the mean" if several else "every run"
    what = "luck: the seed alone" if effect.key == SEED else what
    axes.set_title(what, loc="left", fontsize=9)
    axes.grid(axis="y", alpha=0.25)


def _places(axes: Axes, effect: Effect) -> Any:
    """Where each level stands: at its number, or one beside the other."""
    from matplotlib.ticker import NullLocator

    if effect.numeric and effect.key != SEED:
        if effect.logarithmic:
            axes.set_xscale("log")
        if len(effect.levels) <= _MOST_TICKS and (effect.logarithmic or _apart(effect)):
            numbers = [level.number or 0.0 for level in effect.levels]
            axes.set_xticks(numbers, [plain(brief(level.text), 10) for level in effect.levels])
            axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.08)
        return lambda level: level.number
    at = {level.text: place for place, level in enumerate(effect.levels)}
    if len(at) <= _MOST_TICKS:
        length = max(10, 60 // len(at))
        turned: dict[str, Any] = {"rotation": 25, "ha": "right"}
        turned = turned if max(map(len, at)) > 48 // len(at) else {}
        axes.set_xticks(range(len(at)), [plain(text, length) for text in at], **turned)
    else:
        axes.set_xticks([])
    axes.set_xlim(-0.5, len(at) - 0.5)
    return lambda level: at[level.text]


def _apart(effect: Effect) -> bool:
    """Whether labels at the levels' numbers do not run into each other."""
    numbers = sorted(level.number or 0.0 for level in effect.levels)
    width = (numbers[-1] - numbers[0]) or 1.0
    return all(b - a > 0.09 * width for a, b in pairwise(numbers))


def _error_axis(axes: Axes, which: str, summary: Summary) -> None:
    """The errors' axis, the same in all charts of a summary."""
    from matplotlib.ticker import NullLocator

    scale = summary.scale
    assert scale is not None
    low, high = 100 * scale.low, 100 * scale.high
    axis = axes.xaxis if which == "x" else axes.yaxis
    limit = axes.set_xlim if which == "x" else axes.set_ylim
    if scale.logarithmic:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        low, high = low / 1.1, high * 1.1
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [n * 10.0**power for power in powers for n in _NICE]
        inside = [tick for tick in ticks if low <= tick <= high]
        few = _spaced(inside, 0.09 if which == "x" else 0.06, math.log(high / low))
        axis.set_ticks(few, [f"{tick:g}" for tick in few])
        axis.set_minor_locator(NullLocator())
        limit(low, high)
        return
    room = 0.06 * (high - low) or 1.0
    limit(low - room if low > room else min(low, 0) - room / 2, high + room)


def _spaced(ticks: list[float], share: float, width: float) -> list[float]:
    """Those ticks of a logarithmic axis that leave this share of its width between them."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or math.log(tick / kept[-1]) >= share * width:
            kept.append(tick)
    return kept
