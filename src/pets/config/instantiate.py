"""Build what a config names by `_target_`, after a check of its signature.

What the config of a foreign run may name is checked when it is read (`pets.trust`).
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object

from pets.config import Target
from pets.errors import ConfigError


def build(key: str, target: Target, **given: Any) -> Any:
    """Call the class or function that `target` names.

    Args:
        key: where the target is in the config, for errors.
        target: the dotted path and its arguments.
        **given: further arguments.

    Raises:
        ConfigError: It refuses the arguments' values; its other errors pass through.
    """
    function = get_object(target.target)
    try:
        arguments = {name: _built(value) for name, value in target if name != "target"}
        return function(**arguments, **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {target.target} refuses its arguments ({error})") from error


def _built(value: Any) -> Any:
    """A value with nested `_target_` nodes built: a transform may contain others."""
    if isinstance(value, list | tuple):
        return [_built(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "_target_" not in value:
        return {name: _built(inner) for name, inner in value.items()}
    arguments = {name: _built(inner) for name, inner in value.items() if name != "_target_"}
    return get_object(value["_target_"])(**arguments)


def check_signature(key: str, target: Target, given: tuple[str, ...] = ()) -> None:
    """Check that the function behind `_target_` accepts exactly the arguments of the node.

    Args:
        key: where the target is in the config, for errors.
        target: the dotted path and its arguments.
        given: names of arguments that the code adds itself.

    Raises:
        ConfigError: It cannot be imported, or an argument is missing or unknown.
    """
    try:
        function = get_object(target.target)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{key}._target_={target.target}: cannot be imported ({reason})"
        ) from error
    arguments = {name: value for name, value in target if name != "target"}
    check_arguments(key, function, arguments, given)


def check_arguments(
    key: str,
    function: Any,
    arguments: Mapping[str, Any],
    given: tuple[str, ...] = (),
) -> None:
    """Raise ConfigError, naming the argument, if `function` does not accept the arguments."""
    parameters = inspect.signature(function).parameters
    name = getattr(function, "__qualname__", str(function))
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for argument in arguments:
        if argument in given:
            raise ConfigError(f"{key}.{argument}: is set by pets itself; remove it")
        if argument not in parameters and not takes_any:
            close = difflib.get_close_matches(argument, list(parameters), n=1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(parameters)}"
            raise ConfigError(f"{key}.{argument}: {name} takes no such argument; {hint}")
    for parameter in parameters.values():
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if needed and parameter.name not in arguments and parameter.name not in given:
            raise ConfigError(f"{key}.{parameter.name} is missing: {name} needs it")
