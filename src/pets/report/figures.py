"""What all charts of pages share: their colours, and the way into a page."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY = "#3b7dd8", "#d98324", "#c0392b", "#8a8f98"


def as_svg(figure: Figure) -> str:
    """The figure as a data URI, without a background: the page gives it light or dark."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{b64encode(file.getvalue()).decode()}"
