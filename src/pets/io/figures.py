"""What all charts share: their colours, how names stand in them, and the way into a page."""

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
    """The figure as a data URI, without a background: the page gives it light or dark."""
    file = io.BytesIO()
    with drawn_quietly():
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{b64encode(file.getvalue()).decode()}"


def one_line(text: str, width: int) -> str:
    """A name as it may stand in a line: without control signs, at most `width` characters."""
    # Also the marks that turn the direction of all that follows, and halves of characters.
    shown = "".join(" " if unicodedata.category(sign)[0] == "C" else sign for sign in text)
    line = " ".join(shown.split()) or "(blank)"
    return line if len(line) <= width else f"{line[: width - 1]}…"


def plain(text: str, width: int) -> str:
    """A text that matplotlib shows as it is: on one line, not too long, no formulas. Every name of
    a class, a file, a stage or a setting goes through it."""
    return one_line(text, width).replace("$", r"\$")


@contextmanager
def drawn_quietly() -> Iterator[None]:
    """Without a word about signs that the font does not have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield
