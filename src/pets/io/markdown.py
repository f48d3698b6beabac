"""Texts and tables as Markdown that shows them as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SIGNS = "\\`*_[]<>|#&~$"


class Markdown(str):
    """A text that is Markdown already."""


def text(words: Any) -> str:
    """A text on one line that Markdown shows as it is."""
    if isinstance(words, Markdown):
        return words
    line = " ".join(str(words).split())
    return "".join(f"\\{sign}" if sign in _SIGNS else sign for sign in line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [
        "| " + " | ".join(map(text, header)) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(map(text, row)) + " |" for row in rows),
    ]
