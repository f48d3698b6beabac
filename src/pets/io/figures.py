"""Shared by all charts: colours, safe text for names, and SVG for pages."""

from __future__ import annotations

import io
import unicodedata
import warnings
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY = "#3b7dd8", "#d98324", "#c0392b", "#8a8f98"


def as_svg(figure: Figure) -> str:
    """Render a figure as SVG in a data URI, with a transparent background."""
    file = io.BytesIO()
    with drawn_quietly():
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{b64encode(file.getvalue()).decode()}"


def one_line(text: str, width: int) -> str:
    """Return a name as one line without control characters, at most `width` characters long."""
    # Category C includes marks of writing direction and halves of surrogate pairs.
    shown = "".join(" " if unicodedata.category(sign)[0] == "C" else sign for sign in text)
    line = " ".join(shown.split()) or "(blank)"
    return line if len(line) <= width else f"{line[: width - 1]}…"


def plain(text: str, width: int) -> str:
    """Return text that matplotlib shows literally: one line, not too long, no formulas.

    Use it for every name of a class, a file, a stage or a setting.
    """
    return one_line(text, width).replace("$", r"\$")


@contextmanager
def drawn_quietly() -> Iterator[None]:
    """Suppress warnings about characters that the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield
