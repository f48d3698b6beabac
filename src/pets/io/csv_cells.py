"""CSV cells that no spreadsheet executes.

A file or a class may be called `=cmd|...`. Text like a formula gets a `'` when it is written, which
is removed when it is read.
"""

from __future__ import annotations

import re
from typing import Any

# The beginning of a formula, including full-width signs; a text's own ' gets another one.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_cell(cell: Any) -> Any:
    """Return what to write for a cell: text like a formula gets a leading `'`."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def read_cell(cell: Any) -> Any:
    """Return the original value of a cell from `write_cell`."""
    if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell
