"""A summary as one HTML file that loads nothing from the network."""

from __future__ import annotations

from datetime import datetime

from pets.io.figures import as_svg
from pets.report.template import own, template
from pets.summary.figure import draw
from pets.summary.settings import Summary
from pets.summary.tables import runs_table, settings_table, troubled_table
from pets.summary.verdict import describe_sample, verdict

# In the tables. The test error is not for choosing: the choice is by validation.
_NOT_SORTED = ("range", "beside the best", "test error")


def as_page(summary: Summary) -> str:
    """The page; its links lead to the runs from the summary's folder."""
    sweep_file = summary.folder / "sweep.yaml"
    figure = draw(summary)
    page = template("pets.summary", "page.html", unbroken=_keep_units).render(
        summary=summary,
        sentences=verdict(summary),
        describe_sample=lambda errors: describe_sample(summary, errors),
        figure=as_svg(figure) if figure else None,
        settings=settings_table(summary),
        near=[setting in summary.near_best for setting in summary.settings],
        troubled=troubled_table(summary),
        runs=runs_table(summary),
        not_sorted=_NOT_SORTED,
        sweep_yaml=(
            sweep_file.read_text(encoding="utf-8", errors="replace") if sweep_file.is_file() else ""
        ),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        style=own("pets.report", "page.css") + own("pets.summary", "page.css"),
        script=own("pets.report", "sort.js"),
    )
    return str(page)


def _keep_units(sentence: str) -> str:
    """Keep a number and its unit on one line."""
    space = "\N{NO-BREAK SPACE}"
    return sentence.replace(" %", f"{space}%").replace(" points", f"{space}points")
