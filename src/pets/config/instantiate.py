"""What a config names by `_target_`: its signature checked before data is read, then built.

What a run from elsewhere may name is checked where it is read (`pets.trust`).
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
    """Call what `target` names with its own arguments and the `given` ones.

    Raises ConfigError naming `key` when it refuses their values; its other errors pass.
    """
    function = get_object(target.target)
    try:
        arguments = {name: _built(value) for name, value in target if name != "target"}
        return function(**arguments, **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {target.target} refuses its arguments ({error})") from error


def _built(value: Any) -> Any:
    """A value with the nodes inside it built: a transform may hold others."""
    if isinstance(value, list | tuple):
        return [_built(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "_target_" not in value:
        return {name: _built(inner) for name, inner in value.items()}
    arguments = {name: _built(inner) for name, inner in value.items() if name != "_target_"}
    return get_object(value["_target_"])(**arguments)


def check_signature(key: str, target: Target, given: tuple[str, ...] = ()) -> None:
    """Fail unless the function behind `_target_` takes exactly the arguments of the node.

    `given` names the arguments that the code adds itself. Raises ConfigError.
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
    """Fail with a line that names the argument when `function` would not take it."""
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
