"""A summary as one HTML file that loads nothing from the network."""

from __future__ import annotations

from datetime import datetime

from pets.io.figures import as_svg
from pets.report.template import own, template
from pets.summary.figure import draw
from pets.summary.settings import Summary
from pets.summary.tables import classes_table, runs_table, settings_table
from pets.summary.verdict import verdict

# Columns without a sort button. Settings are selected on validation error, never on test error.
_NOT_SORTED = ("range", "vs. best")


def as_page(summary: Summary) -> str:
    """Render the page; links to the runs are relative to the summary's folder."""
    sweep_file = summary.folder / "sweep.yaml"
    figure = draw(summary)
    page = template("pets.summary", "page.html").render(
        summary=summary,
        # A number stays with its sign.
        sentences=[line.replace(" %", "\N{NO-BREAK SPACE}%") for line in verdict(summary)],
        figure=as_svg(figure) if figure else None,
        settings=settings_table(summary),
        near=[setting in summary.near_best for setting in summary.settings],
        troubled=summary.troubled.to_dict("records"),
        runs=runs_table(summary),
        classes=summary.out_of_fold and classes_table(summary.out_of_fold),
        not_sorted=(*_NOT_SORTED, f"test {summary.monitor.words}"),
        sweep_yaml=sweep_file.read_text(errors="replace") if sweep_file.is_file() else "",
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        style=own("pets.report", "page.css") + own("pets.summary", "page.css"),
        script=own("pets.report", "sort.js"),
    )
    return str(page)
