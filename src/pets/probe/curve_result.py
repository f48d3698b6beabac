"""A learning curve as a table, a picture and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pets.io.figures import BLUE, GREY, ORANGE, as_svg, plain
from pets.probe.forecast import FARTHEST, Curve, Forecast, verdict
from pets.probe.power_law import LEVELS
from pets.probe.write import Section, on_screen, write_result
from pets.summary.tables import Cell, Table, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CLASSES = 25  # in the picture
_ON_SCREEN = 12


@dataclass(frozen=True)
class CurveResult:
    """A learning curve."""

    curve: Curve

    @property
    def table(self) -> pd.DataFrame:
        """One row for all photos (class empty), then one per class; errors are fractions."""
        return pd.DataFrame([_row(one) for one in (self.curve.whole, *self.curve.classes)])

    def picture(self) -> Figure:
        """Draw the law of all photos, and the forecast of each class that has a law."""
        from matplotlib.figure import Figure

        lawful = [one for one in self._classes if one.law is not None]
        shown = lawful[:_CLASSES]
        figure = Figure(figsize=(10, max(4.5, 0.24 * len(shown) + 1.5)), layout="constrained")
        if shown:
            left, right = figure.subplots(1, 2)
            _draw_classes(right, shown, len(lawful))
        else:
            left = figure.subplots()
        _draw_law(left, self.curve.whole)
        return figure

    def write(self, folder: Path) -> list[str]:
        """Write the files to the folder; return the lines for the log."""
        curve, table = self.curve, _shown(self._classes)
        sentences, picture = verdict(curve), self.picture()
        beside = ""
        if any(one.law for one in curve.classes):
            beside = " Beside it: the change of each class's own error; blue where it can be told."
        sections = [
            Section(
                "Curve",
                ["Validation error over the number of training photos, every class growing alike; "
                 "the line is the law a · n^-b + c, the band its 95 % interval over photos and "
                 "seeds, up to twice the photos. Orange: the intervals of a law fitted without the "
                 f"largest sizes, which should contain the points.{beside}"],
                as_svg(picture), "Error over the number of training photos",
            ),
            Section(
                "Classes", ["The classes with the highest error first."], table=table,
                sorted_by="", not_sorted=("95 % interval", "can it be told"),
                near=[not one.doubt for one in self._classes],
            ),
        ]  # fmt: skip
        whole = curve.whole
        about = (
            f"{curve.data} · {len(curve.classes)} classes · {whole.photos[-1]:,.0f} training and "
            f"{whole.valid:,} validation photos · {curve.network}"
        )
        checks = curve.checks
        values = {
            "whole": _values(whole),
            "classes": [_values(one) for one in curve.classes],
            "network": curve.network, "seeds": curve.seeds, "data": curve.data,
            "held_out": {"points": len(checks), "inside": sum(check.inside for check in checks)},
        }  # fmt: skip
        page = write_result(
            folder, "curve", about, sentences, sections, self.table, values, picture
        )
        return ["", *on_screen(table, _ON_SCREEN), "", *sentences, "", f"page  {page}"]

    @property
    def _classes(self) -> list[Forecast]:
        """The classes, the highest error first."""
        return sorted(self.curve.classes, key=lambda one: -np.nan_to_num(one.now, nan=-1))


def _row(one: Forecast) -> dict[str, Any]:
    point = (float(p[0]) for p in (one.law.a, one.law.b, one.law.c)) if one.law else (None,) * 3
    a, b, c = point
    return {
        "class": one.name, "train_photos": int(one.photos[-1]), "valid_photos": one.valid,
        "error": one.now, "more": one.more, "change": one.change, "change_low": one.low,
        "change_high": one.high, "spread": one.spread, "told": not one.doubt,
        "doubt": one.doubt, "a": a, "b": b, "c": c,
        "held_out": len(one.checks), "held_out_inside": sum(check.inside for check in one.checks),
    }  # fmt: skip


def _values(one: Forecast) -> dict[str, Any]:
    """What JSON has beside the table's row: the measured points, and the law's uncertainty."""
    row = {key: None if value != value else value for key, value in _row(one).items()}  # no NaN
    intervals = {}
    if one.law:
        for name in ("a", "b", "c"):
            intervals[f"{name}_interval"] = np.quantile(getattr(one.law, name)[1:], LEVELS)
    errors = [None if np.isnan(error) else float(error) for error in one.errors]
    checks = [
        {"photos": c.photos, "error": c.error, "low": c.low, "high": c.high, "inside": c.inside}
        for c in one.checks
    ]
    return {**row, **intervals, "photos": one.photos, "errors": errors, "checks": checks}


def _draw_law(axes: Axes, one: Forecast) -> None:
    now = one.photos[-1]
    axes.plot(one.photos, 100 * one.errors, "o", color=BLUE, ms=6)
    if one.law is not None:
        grid = np.geomspace(one.photos[0], FARTHEST * now, 60)
        laws = 100 * np.stack([one.law(n) for n in grid])
        low, high = np.quantile(laws[:, 1:], LEVELS, axis=1)
        axes.fill_between(grid, low, high, color=BLUE, alpha=0.15, lw=0)
        axes.plot(grid, laws[:, 0], "-", color=BLUE, lw=1.5)
        for check in one.checks:
            axes.plot([check.photos] * 2, [100 * check.low, 100 * check.high], color=ORANGE, lw=3,
                      alpha=0.6, zorder=0)  # fmt: skip
    axes.axvline(now, color=GREY, lw=1, ls=":")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    ticks = [one.photos[0], one.photos[len(one.photos) // 2], now, FARTHEST * now]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("training photos")
    axes.set_ylabel("validation error in %")
    axes.set_title("all photos", loc="left", fontsize="medium")
    axes.grid(alpha=0.25)


def _draw_classes(axes: Axes, classes: list[Forecast], total: int) -> None:
    for y, one in enumerate(classes):
        colour = GREY if one.doubt else BLUE
        axes.plot([100 * one.low, 100 * one.high], [y, y], "-", color=colour)
        axes.plot(100 * one.change, y, "o", color=colour, ms=5)
    labels = [f"{plain(one.name, 28)} ({100 * one.now:.0f} %)" for one in classes]
    axes.set_yticks(range(len(classes)), labels, fontsize="small")
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.axvline(0, color=GREY, lw=1)
    some = f"{len(classes)} worst of {total} classes" if len(classes) < total else "class"
    axes.set_title(f"{some} (error now)", loc="left", fontsize="medium")
    axes.set_xlabel("change of its error in points, with 95 % interval")
    axes.grid(axis="x", alpha=0.25)


def _shown(classes: list[Forecast]) -> Table:
    """Return the table of the page and the log."""
    columns = ["class", "error", "train", "valid", "more", "change", "95 % interval",
               "can it be told"]  # fmt: skip
    rows = []
    for one in classes:
        known = one.law is not None
        interval = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}" if known else ""
        rows.append([
            Cell(one.name), number(f"{100 * one.now:.1f} %", one.now if one.valid else None),
            number(f"{one.photos[-1]:,.0f}", one.photos[-1]), number(f"{one.valid:,}", one.valid),
            number(f"{one.more:,}", one.more),
            number(f"{100 * one.change:+.1f}", one.change if known else None), Cell(interval),
            Cell(f"no: {one.doubt}" if one.doubt else "yes"),
        ])  # fmt: skip
    return Table(columns, rows)
