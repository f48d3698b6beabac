"""JSON and YAML of values that may contain numpy and torch numbers, and overrides to be typed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

_PLAIN = {type(None), bool, int, float, str}
# Text that Hydra reads as this text without quotes: neither a number, nor one of its words.
_BARE = re.compile(
    r"(?!(?:null|true|false|nan|inf)$)[a-z_][\w.:+-]*|[\w.+-]*/[\w./:+-]*", re.ASCII | re.IGNORECASE
)


def plain(value: Any, keep: type | tuple[type, ...] = ()) -> Any:
    """Convert a nested value to dicts, lists, tuples and Python's numbers and strings.

    Neither numpy nor torch is imported: whatever has `tolist` counts as an array or a tensor.

    Args:
        value: nested to any depth.
        keep: types that are left unchanged, such as the tensors of a checkpoint.
    """
    if type(value) in _PLAIN or isinstance(value, keep):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(inner, keep) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner, keep) for inner in value]
    if isinstance(value, tuple):
        return tuple(plain(inner, keep) for inner in value)
    return value.tolist() if hasattr(value, "tolist") else value


def to_json(value: Any, **layout: Any) -> str:
    """Return the value as JSON; `layout` are options of `json.dumps`."""
    return json.dumps(plain(value), **layout)


def to_yaml(value: Any, **layout: Any) -> str:
    """Return the value as YAML, keys in order; `layout` are options of `yaml.safe_dump`."""
    import yaml

    layout = {"sort_keys": False, "allow_unicode": True} | layout
    return str(yaml.safe_dump(plain(value), **layout))


def to_override(key: str, value: object) -> str:
    """Return the override `key=value`, with the value quoted only if Hydra needs it."""
    text = str(value)
    return f"{key}={text if _BARE.fullmatch(text) else quoted(text)}"


def to_argument(key: str, value: object) -> str:
    """Return the override `key=value`, to be pasted: the shell needs quotes of its own."""
    return shlex.quote(to_override(key, value))


def quoted(text: str) -> str:
    """Quote text so that Hydra uses it literally."""
    # A backslash counts only before a quote, at the end, and before an interpolation.
    inside = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    inside = re.sub(r"(\\*)'", r"\1\1\\'", inside)
    inside = re.sub(r"(\\+)$", r"\1\1", inside)
    return f"'{inside}'"
