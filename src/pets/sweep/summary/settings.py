"""What was varied in a sweep: its keys, their values as typed, and which of them are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pets.io.serialize import to_yaml
from pets.sweep.summary.runs import Run

SEED = "seed"
# What a typed value is: a number, a list of numbers, or a text.
Identity: TypeAlias = float | tuple[float, ...] | str


def swept_keys(runs: Sequence[Run]) -> list[str]:
    """The keys that are not the same in all runs, in the order they were typed, the seed last."""
    keys = dict.fromkeys(key for run in runs for key in run.given)
    swept = [key for key in keys if len({identity(value(run, key)) for run in runs}) > 1]
    return sorted(swept, key=lambda key: key == SEED)


def common_settings(runs: Sequence[Run], swept: Sequence[str]) -> dict[str, str]:
    """What was typed for all runs alike."""
    given = {key: text for run in runs for key, text in run.given.items()}
    return {key: text for key, text in given.items() if key not in swept}


def value(run: Run, key: str) -> str:
    """A run's value of a key: as typed, else as its config has it, else nothing."""
    if key in run.given:
        return run.given[key]
    found: Any = run.config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    if found is None or isinstance(found, Mapping):
        return ""
    if isinstance(found, str):
        return found
    text = to_yaml(found, sort_keys=True, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def identity(text: str) -> Identity:
    """What two ways to type one value have in common: `1e-3` is `0.001`, `True` is `true`."""
    number = _number(text)
    if number is not None:
        return number
    if text.startswith("[") and text.endswith("]"):
        parts = [_number(part) for part in text[1:-1].split(",")]
        if None not in parts:
            return tuple(part for part in parts if part is not None)
    return text.lower() if text.lower() in ("true", "false", "null") else text


def in_order(texts: Sequence[str]) -> list[str]:
    """Each value once, by the first way it was typed: numbers and lists ascending, then texts."""
    first = {identity(text): text for text in reversed(texts)}
    places = {found: place for place, found in enumerate(dict.fromkeys(map(identity, texts)))}

    def rank(found: Identity) -> tuple[int, tuple[float, ...]]:
        if isinstance(found, float):
            return 0, (found,)
        return (1, found) if isinstance(found, tuple) else (2, (places[found],))

    return [first[found] for found in sorted(first, key=rank)]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The shortest end of each dotted key that no other has: `lr` of `plan.stages.head.lr`. Keys of
    two parts stay whole: `enabled` alone would say nothing of `precompute.enabled`."""
    found = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[i:]) for i in reversed(range(len(parts)))]
        ends = ends[1:] if len(parts) == 2 else ends
        others = [f".{other}" for other in keys if other != key]
        alone = (end for end in ends if not any(o.endswith(f".{end}") for o in others))
        found[key] = next(alone, key)
    return found


def brief(text: str, width: int = 40) -> str:
    """A value as it stands in a sentence: long numbers rounded, long texts cut."""
    number = _number(text)
    if number is not None and len(text) > 8:
        return f"{number:.3g}"
    words = " ".join(text.split())
    return words if len(words) <= width else f"{words[: width - 1]}…"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
