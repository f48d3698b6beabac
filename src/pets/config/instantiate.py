"""Instantiate the `_target_` nodes of a config, after checking their signatures.

What an untrusted run's config may reference is checked when it is read (`pets.trust`).
"""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pets.config import Target
from pets.config.foreign import answers
from pets.errors import ConfigError

# It reports what cannot be imported in several lines, before our one.
logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)

_IN_WORDS = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null",
}  # fmt: skip

OWN = "a module of yours is found in the folder of --config-dir, or on PYTHONPATH"


def build(key: str, target: Target, **given: Any) -> Any:
    """Call the class or function that `target` names with its arguments and the `given` ones.

    Raises:
        ConfigError: It rejects the arguments' values; other errors pass through.
    """
    try:
        return _call(target.model_dump(by_alias=True), **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {target.target} refuses its arguments ({error})") from error


def _call(node: Mapping[str, Any], **given: Any) -> Any:
    arguments = {name: _built(value) for name, value in node.items() if name != "_target_"}
    return get_object(node["_target_"])(**arguments, **given)


def _built(value: Any) -> Any:
    """A value with nested `_target_` nodes built: a transform may contain others."""
    if isinstance(value, list | tuple):
        return [_built(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "_target_" in value:
        return _call(value)
    return {name: _built(inner) for name, inner in value.items()}


def imported(key: str, path: str) -> Any:
    """Return what a dotted path names. Raises ConfigError if it cannot be imported."""
    try:
        return get_object(path)
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())
        own = "" if _is_there(path.partition(".")[0]) else f"; {OWN}"
        raise ConfigError(f"{key}={path}: cannot be imported ({reason}){own}") from error


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def check_signature(key: str, target: Target, given: Collection[str] = ()) -> None:
    """Raise ConfigError unless `target` can be imported and accepts its arguments.

    Args:
        key: where the target is in the config, for errors.
        target: the dotted path and its arguments.
        given: names of arguments that the code adds itself.
    """
    function = imported(f"{key}._target_", target.target)
    check_arguments(key, function, target.model_extra or {}, given)
    check_types(key, function, target.model_extra or {})


def check_types(key: str, function: Any, arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError if the value of an argument is not of the type that `function` declares.

    Only plain types are checked. Many libraries notice a wrong one late, or not at all.
    """
    called = function.__init__ if inspect.isclass(function) else function
    defaults = inspect.signature(function).parameters
    for name, value in arguments.items():
        declared = _declared(called, name)
        union = get_origin(declared) in (Union, UnionType)
        kinds = get_args(declared) if union else (declared,)
        optional = name in defaults and defaults[name].default is None
        if not all(kind in _IN_WORDS for kind in kinds) or (value is None and optional):
            continue
        try:
            TypeAdapter(declared, config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            shown = "null" if value is None else value
            expected = " or ".join(_IN_WORDS[kind] for kind in kinds)
            raise ConfigError(f"{key}.{name}={shown}: expected {expected}") from error


def _declared(function: Any, name: str) -> Any:
    """Return the annotation of an argument, or Any."""
    annotations = {k: v for k, v in getattr(function, "__annotations__", {}).items() if k == name}
    alone = SimpleNamespace(__annotations__=annotations)  # others may not be importable
    try:
        return get_type_hints(alone, getattr(function, "__globals__", {})).get(name, Any)
    except Exception:  # it may name what only a type checker imports
        return Any


def check_arguments(
    key: str, function: Any, arguments: Collection[str], given: Collection[str] = ()
) -> None:
    """Raise ConfigError, naming the argument, unless `function` accepts exactly these arguments."""
    parameters = inspect.signature(function).parameters
    name = getattr(function, "__qualname__", str(function))
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for argument in arguments:
        if argument in given:
            instead = "".join(f"; in pets: {answer}" for answer in answers(f"{key}.{argument}")[:1])
            raise ConfigError(f"{key}.{argument}: is set by pets itself; remove it{instead}")
        if argument not in parameters and not takes_any:
            free = [name for name in parameters if name not in given]
            close = difflib.get_close_matches(argument, free, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(free) or 'none'}"
            raise ConfigError(f"{key}.{argument}: {name} takes no such argument; {hint}")
    for parameter in parameters.values():
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        optional = variable or parameter.default is not parameter.empty
        if not optional and parameter.name not in (*arguments, *given):
            raise ConfigError(f"{key}.{parameter.name} is missing: {name} needs it")
