"""The report as one HTML file that loads nothing from the network."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pets.interpretation.analysis import Analysis
from pets.io.atomic import write_atomically
from pets.report.photos import PagePhotos
from pets.report.sections import SECTIONS, headline
from pets.report.template import own, template

_PACKAGE = "pets.report"


def write_page(analysis: Analysis, file: Path, suspects: Path) -> None:
    """Write the page about an analysis.

    Args:
        analysis: what was found.
        file: the page.
        suspects: the CSV of label suspects, which the page names.
    """
    photos = PagePhotos(analysis)
    values: dict[str, dict[str, Any]] = {}
    for section in sorted(SECTIONS.values(), key=lambda section: section.turn):
        filled = section.fill(analysis, photos)
        if filled is not None:
            values[section.name] = filled
    page = template(_PACKAGE, "page.html").render(
        sections=[(s, values[s.name]) for s in SECTIONS.values() if s.name in values],
        headline=headline(analysis),
        analysis=analysis,
        config=analysis.trained.config,
        suspects_file=suspects,
        photos=photos,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        style=own(_PACKAGE, "page.css"),
        script=own(_PACKAGE, "page.js", "sort.js"),
    )
    write_atomically(file, page.encode())
