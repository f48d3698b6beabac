"""Escape text, and write tables, for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SIGNS = "\\`*_[]<>|#&~$"


class Markdown(str):
    """Text that is Markdown already and is not escaped."""


def text(value: Any) -> str:
    """Escape a value so that Markdown shows it literally, on one line."""
    if isinstance(value, Markdown):
        return value
    line = " ".join(str(value).split())
    return "".join(f"\\{sign}" if sign in _SIGNS else sign for sign in line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; cells are escaped."""
    return [
        "| " + " | ".join(map(text, header)) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(map(text, row)) + " |" for row in rows),
    ]
