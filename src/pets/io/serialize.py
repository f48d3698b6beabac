"""Numbers of numpy and torch as Python's own, in what is written as JSON, YAML or checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PLAIN = {type(None), bool, int, float, str}


def plain(value: Any, keep: type | tuple[type, ...] = ()) -> Any:
    """The same value of dicts, lists, tuples and Python's numbers and strings.

    Neither numpy nor torch is imported: whatever has `tolist` is an array, a tensor or a scalar of
    one.

    Args:
        value: nested as deep as one likes.
        keep: types that stay as they are, such as the tensors of a checkpoint.
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
    """The value as JSON; `layout` is that of `json.dumps`."""
    return json.dumps(plain(value), **layout)


def to_yaml(value: Any, **layout: Any) -> str:
    """The value as YAML, keys in their own order; `layout` is that of `yaml.safe_dump`."""
    import yaml

    layout = {"sort_keys": False, "allow_unicode": True} | layout
    return str(yaml.safe_dump(plain(value), **layout))
