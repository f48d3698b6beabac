"""Validate composed configs: a typed config, or one line per mistake."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from typing import Any, TypeVar, cast, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pets.errors import ConfigError
from pets.registry import UNKNOWN_NAME

Model = TypeVar("Model", bound=BaseModel)

# Pydantic's error types in plain words.
_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "dict_type": "keys with values",
    "model_type": "keys with values",
}


def typed(schema: type[Model], cfg: DictConfig) -> Model:
    """Convert a composed config to a `schema`.

    Raises:
        ConfigError: One line per wrong value: the key, the value, what was expected and the fix.
    """
    try:
        values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key or str(error)
        raise ConfigError(f"{key} is needed; give it as {key}=...") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    return typed_values(schema, values)


def typed_values(schema: type[Model], values: Any) -> Model:
    """Convert plain values, such as a run's `config.yaml`, to a `schema`. Raises ConfigError."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines = dict.fromkeys(_line(schema, detail, values) for detail in error.errors())
        raise ConfigError("\n".join(lines)) from error


def _line(schema: type[BaseModel], detail: ErrorDetails, values: Any) -> str:
    """Format a pydantic error as `key=value: what is wrong; the fix`."""
    keys, description = _field(schema, detail["loc"])
    key = ".".join(keys)
    # For a union pydantic reports a part of the value; the user typed all of it.
    value = _at(values, keys) if description else detail["input"]
    if detail["type"] == "extra_forbidden":
        return f"{key}={value}: no such key; {suggestion(key, schema)}"
    if detail["type"] == "missing" and not description:
        return f"{key} is missing from the config; a ~{key} on the command line removed it?"
    if detail["type"] == "value_error":
        return f"{key}: {detail['ctx']['error']}" if key else str(detail["ctx"]["error"])
    if detail["type"] == UNKNOWN_NAME:
        return f"{key}={_shown(value)}: expected {detail['msg']}"
    expected = description or _EXPECTED.get(detail["type"], detail["msg"]).format(
        **detail.get("ctx", {})
    )
    return f"{key}={_shown(value)}: expected {expected.removeprefix('Input should be ')}"


def _field(schema: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], str | None]:
    """The keys of an error's field, and the field's description.

    For a field with a description pydantic's location continues into the branches of its union;
    users know only the key of the field.
    """
    model: Any = schema
    keys: list[str] = []
    for part in loc:
        keys.append(str(part))
        fields = model.model_fields if _is_model(model) else {}
        if str(part) in fields:
            field = fields[str(part)]
            if field.description:
                return keys, field.description
            model = field.annotation
        elif not _is_model(model):
            model = _value_model(model)
    return keys, None


def _at(values: Any, keys: list[str]) -> Any:
    for key in keys:
        values = values[key] if isinstance(values, dict) and key in values else None
    return values


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _value_model(annotation: Any) -> Any:
    """The type of the values of a `dict[str, X]`: X."""
    arguments = get_args(annotation)
    return arguments[-1] if get_origin(annotation) is dict else None


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return "null" if value is None else str(value)


def known_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a schema."""
    for name, field in schema.model_fields.items():
        key = f"{prefix}{name}"
        yield key
        if _is_model(field.annotation):
            yield from known_keys(cast(type[BaseModel], field.annotation), f"{key}.")


def suggestion(key: str, schema: type[BaseModel]) -> str:
    """Suggest the key that was probably meant, and where to see all keys."""
    close = difflib.get_close_matches(key, list(known_keys(schema)), n=1, cutoff=0.6)
    see_all = "--cfg job shows every key"
    return f"did you mean {close[0]}? ({see_all})" if close else see_all
