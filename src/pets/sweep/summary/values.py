"""Values of overrides as they were typed: which are equal, their order, and short forms of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

SEED = "seed"
# A typed value is a number, a list of numbers, or a text.
Value: TypeAlias = float | tuple[float, ...] | str


def parse_value(text: str) -> Value:
    """The value behind a text: `1e-3` and `0.001` are equal, so are `True` and `true`."""
    number = _number(text)
    if number is not None:
        return number
    if text.startswith("[") and text.endswith("]"):
        parts = [_number(part) for part in text[1:-1].split(",")]
        if None not in parts:
            return tuple(part for part in parts if part is not None)
    return text.lower() if text.lower() in ("true", "false", "null") else text


def sort_values(texts: Sequence[str]) -> list[str]:
    """Each value once, as first typed: numbers ascending, then lists, then texts as they came."""
    first_typed: dict[Value, str] = {}
    for text in texts:
        first_typed.setdefault(parse_value(text), text)

    def rank(value: Value) -> tuple[int, tuple[float, ...]]:
        if isinstance(value, str):
            return 2, ()  # the sort is stable
        return (1, value) if isinstance(value, tuple) else (0, (value,))

    return [first_typed[value] for value in sorted(first_typed, key=rank)]


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The shortest unambiguous end of each dotted key: `lr` for `plan.stages.head.lr`.

    Keys of two parts stay whole: `enabled` alone would not tell of `precompute.enabled`.
    """
    keys = list(keys)
    names = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[i:]) for i in reversed(range(len(parts)))]
        ends = ends[1:] if len(parts) == 2 else ends
        others = [f".{other}" for other in keys if other != key]
        unambiguous = (e for e in ends if not any(other.endswith(f".{e}") for other in others))
        names[key] = next(unambiguous, key)
    return names


def shorten(text: str, width: int = 40) -> str:
    """A value for a sentence or a label: long numbers rounded, long texts cut."""
    number = _number(text)
    if number is not None and len(text) > 8:
        return f"{number:.3g}"
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
