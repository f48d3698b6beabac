"""JSON and YAML of values that may contain numpy and torch numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PLAIN = {type(None), bool, int, float, str}


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
