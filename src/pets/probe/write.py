"""Write a race or a curve: CSV, JSON, a picture, and a page that loads nothing from the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pets.errors import RunError
from pets.io.atomic import write_atomically
from pets.io.csv_cells import write_cell
from pets.io.pictures import pixels, png
from pets.io.serialize import to_json
from pets.report.template import own, template
from pets.summary.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """A part of the page: text, then a picture, a table and commands, each if there is one.

    `near` marks rows of the table, which is `sorted_by` a column when the page opens.
    """

    title: str
    words: Sequence[str] = ()
    picture: str = ""
    alt: str = ""
    table: Table | None = None
    sorted_by: str = ""
    not_sorted: Sequence[str] = ()
    near: Sequence[bool] = ()
    commands: Sequence[str] = ()

    @property
    def id(self) -> str:
        return self.title.lower().replace(" ", "-")


def write_result(
    folder: Path,
    name: str,
    about: str,
    sentences: Sequence[str],
    sections: Sequence[Section],
    table: pd.DataFrame,
    values: Mapping[str, Any],
    figure: Figure,
) -> Path:
    """Write `<name>.csv`, `.json`, `.png` and `.html` to the folder; return the page.

    Args:
        folder: Where to write.
        name: Of the files, without suffix.
        about: What was measured, for the page's first line.
        sentences: The verdict, the main one first.
        sections: Of the page.
        table: Of the CSV file; shares are fractions.
        values: Of the JSON file; it also has the sentences.
        figure: Of the PNG file.

    Raises:
        RunError: The folder cannot be written.
    """
    page = template("pets.probe", "page.html").render(
        title=f"{name}: {sentences[0]}",
        name=name,
        about=about,
        sentences=sentences,
        sections=sections,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        style=own("pets.report", "page.css") + own("pets.summary", "page.css"),
        script=own("pets.report", "sort.js"),
    )
    cells = table.astype(object).map(write_cell).to_csv(index=False, lineterminator="\n")
    contents = {
        "csv": cells.encode(),
        "json": f"{to_json({'verdict': sentences, **values}, indent=1)}\n".encode(),
        "png": png(pixels(figure)),
        "html": str(page).encode(),
    }
    try:
        for suffix, content in contents.items():
            write_atomically(folder / f"{name}.{suffix}", content)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space or check "
            "the permissions"
        ) from error
    return folder / f"{name}.html"


def on_screen(table: Table, most: int) -> list[str]:
    """Return the first rows of a table as lines for the log."""
    cells = [[cell.text for cell in row] for row in table.rows[:most]]
    lines = pd.DataFrame(cells, columns=table.columns).to_string(index=False).splitlines()
    more = len(table.rows) - most
    return [*lines, *([f"  and {more:,} more"] if more > 0 else [])]
