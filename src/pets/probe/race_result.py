"""A race as a table, a picture and a page."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pets.io.figures import BLUE, GREY, as_svg, plain
from pets.probe.ranking import Race, percent, pixels, verdict
from pets.probe.write import Section, on_screen, write_result
from pets.summary.tables import Cell, Table, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELLED = 20  # names in the picture
_ON_SCREEN = 20
_OTHER_HEAD = (
    "Training fits its own head, and the plan's later stages change the backbone: the trained "
    "error may differ from the one here. plan=frozen4 precompute=true trains the head alone."
)


@dataclass(frozen=True)
class RaceResult:
    """A race, and the arguments of `pets train` that choose its photos."""

    race: Race
    data: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row per entrant, the best first; errors are fractions."""
        race = self.race
        rows = []
        for one, against in zip(race.entrants, (None, *race.comparisons), strict=True):
            low, high = one.interval
            apart = against.interval if against else (0.0, 0.0)
            rows.append({
                "name": one.name, "network": one.network,
                "height": one.size[0], "width": one.size[1], "error": one.error,
                "error_low": low, "error_high": high,
                "difference": against.paired.difference if against else 0.0,
                "difference_low": apart[0], "difference_high": apart[1],
                "p": against.p_adjusted if against else 1.0,
                "tied": one in race.tied, "pareto": one in race.pareto_front,
                "photos_per_second": one.speed, "megabytes": one.megabytes,
                "licence": one.licence, "c": one.c, "cv_error": one.cv_error,
            })  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def commands(self) -> list[str]:
        """The command that trains the best, and that for a tie that is faster."""
        chosen = [self.race.best, *([self.race.fastest_tied] if self.race.has_faster_tie else [])]
        return [shlex.join(["pets", "train", *self.data, *one.overrides]) for one in chosen]

    def picture(self) -> Figure:
        """Draw error against speed: the Pareto front, and what is tied with the best in blue."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import NullFormatter, StrMethodFormatter

        figure = Figure(figsize=(10, 5), layout="constrained")
        axes = figure.subplots()
        race = self.race
        for one in reversed(race.entrants):
            low, high = one.interval
            colour = BLUE if one in race.tied else GREY
            axes.plot([one.speed] * 2, [100 * low, 100 * high], "-", color=colour, lw=1, alpha=0.6)
            axes.plot(one.speed, 100 * one.error, "o", color=colour, ms=7)
        front = [(one.speed, 100 * one.error) for one in race.pareto_front]
        axes.plot(*zip(*front, strict=True), "--", color=BLUE, lw=1, zorder=0)
        _label(axes, race)
        axes.set_xscale("log")
        for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            axis(StrMethodFormatter("{x:,.0f}"))
        if max(one.speed for one in race.entrants) > 5 * min(one.speed for one in race.entrants):
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("photos a second on this machine, without loading them")
        axes.set_ylabel("validation error in %, with 95 % interval")
        axes.set_title(
            "blue: the best, and what cannot be told apart from it; dashed: none is both faster "
            "and better", loc="left", fontsize="medium",
        )  # fmt: skip
        axes.grid(alpha=0.25)
        return figure

    def write(self, folder: Path) -> list[str]:
        """Write the files to the folder; return the lines for the log."""
        race, table = self.race, _shown(self.race)
        commands = self.commands
        sections = [
            Section(
                "Backbones",
                ["Each backbone is frozen; a linear head is fitted to its features of the training "
                 "photos, with the regularisation that cross-validation on these chose. The best, "
                 'and what cannot be told apart from it, is blue; "vs. best" is how much higher '
                 "the error is, with an interval that holds for all rows together."],
                as_svg(self.picture()), "Error of each backbone against its speed",
                table, "error", ("95 % interval", "vs. best"),
                [one in race.tied for one in race.entrants],
            ),
            Section("Train it", [_OTHER_HEAD], commands=commands),
        ]  # fmt: skip
        if race.failures:
            lines = [f"{name}: {reason}" for name, reason in race.failures.items()]
            sections.append(Section("Left out", lines))
        sentences = verdict(race)
        about = (
            f"{race.data} · {race.classes} classes · {race.train:,} training and {race.photos:,} "
            "validation photos"
        )
        values = {**asdict(race), "commands": commands}
        page = write_result(
            folder, "race", about, sentences, sections, self.table, values, self.picture()
        )
        return ["", *on_screen(table, _ON_SCREEN), "", *sentences, "", *commands, _OTHER_HEAD, "",
                f"page  {page}"]  # fmt: skip


def _label(axes: Axes, race: Race) -> None:
    """Number the first entrants and those of the Pareto front, and list their names beside."""
    ranked = list(enumerate(race.entrants, 1))
    named = [pair for pair in ranked if pair[0] <= _LABELLED or pair[1] in race.pareto_front]
    for rank, one in named:
        axes.annotate(
            str(rank), (one.speed, 100 * one.error), xytext=(5, 4), textcoords="offset points",
            fontsize="small",
        )  # fmt: skip
    names = "\n".join(f"{rank}  {plain(race.label(one), 36)}" for rank, one in named)
    axes.text(1.02, 1, names, transform=axes.transAxes, va="top", fontsize="small")


def _shown(race: Race) -> Table:
    """Return the table of the page and the log."""
    columns = ["backbone", "size", "error", "95 % interval", "vs. best", "photos/s", "MB",
               "licence"]  # fmt: skip
    rows = []
    for one, against in zip(race.entrants, (None, *race.comparisons), strict=True):
        low, high = (percent(end, "") for end in one.interval)
        apart = "best"
        if against is not None:
            ends = " to ".join(f"{100 * end:+.1f}" for end in against.interval)
            tie = ", a tie" if against.is_tie else ""
            apart = f"{100 * against.paired.difference:+.1f} points ({ends}){tie}"
        rows.append([
            Cell(one.name), number(pixels(one.size), one.size[0] * one.size[1]),
            number(percent(one.error), one.error), Cell(f"{low} to {high} %"), Cell(apart),
            number(f"{one.speed:,.0f}", one.speed), number(f"{one.megabytes:,.1f}", one.megabytes),
            Cell(one.licence),
        ])  # fmt: skip
    return Table(columns, rows)
