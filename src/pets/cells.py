"""CSV cells: text that a spreadsheet would run as a formula is written so that it does not, and read
as it was. A file or a class may be called `=cmd|...`, and tables are opened by people."""

from __future__ import annotations

import re
from typing import Any

# How a formula begins, also in full width; a ' before it is told from one that was there.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def safe(cell: Any) -> Any:
    """What to write for a cell: text like a formula gets a `'` before it; numbers stay numbers."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def plain(cell: Any) -> Any:
    """What `safe` was given for the cell that is read."""
    if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell
