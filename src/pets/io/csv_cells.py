"""CSV cells that no spreadsheet runs: text like a formula is written so that it stays text, and
read as it was. A file or a class may be called `=cmd|...`, and tables are opened by people."""

from __future__ import annotations

import re
from typing import Any

# How a formula begins, also in full width; a ' before it is told from one that was there.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_cell(cell: Any) -> Any:
    """What to write for a cell: text like a formula gets a `'` before it; numbers stay numbers."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def read_cell(cell: Any) -> Any:
    """What `write_cell` was given for the cell that is read."""
    if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell
