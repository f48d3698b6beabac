"""Validate composed configs: a typed config, or one line per mistake."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from types import NoneType
from typing import Any, TypeGuard, TypeVar, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pets.config.base import Target
from pets.config.foreign import answers
from pets.errors import ConfigError, some
from pets.registry import UNEXPECTED

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
    except InterpolationToMissingValueError as error:  # in a value made of the missing one
        key = str(error).splitlines()[0].rpartition(" ")[2]
        raise ConfigError(f"{key} is needed; give it as {key}=...") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    return typed_values(schema, values)


def typed_values(schema: type[Model], values: Any) -> Model:
    """Convert plain values, such as a run's `config.yaml`, to a `schema`. Raises ConfigError."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines, missing = list[str](), list[str]()
        for detail in error.errors():
            keys = list(map(str, detail["loc"]))
            # In a union pydantic also misses the items of a list that is too short.
            if detail["type"] == "missing" and keys == _field(schema, detail["loc"])[0]:
                missing.append(".".join(keys))
            else:
                lines.append(_line(schema, detail, values))
        if missing:
            lines.append(_missing(missing, schema))
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def _line(schema: type[BaseModel], detail: ErrorDetails, values: Any) -> str:
    """Format a pydantic error as `key=value: what is wrong; the fix`."""
    keys, description = _field(schema, detail["loc"])
    key, kind = ".".join(keys), detail["type"]
    if kind == "extra_forbidden":
        return f"{key}={detail['input']}: no such key; {suggestion(key, schema)}"
    if kind == "value_error":
        return f"{key}: {detail['ctx']['error']}" if key else str(detail["ctx"]["error"])
    value = detail["input"]
    if description:  # of a union pydantic reports a part of the value; the user typed all of it
        value = values
        for name in keys:
            value = value.get(name) if isinstance(value, dict) else None
    expected = detail["msg"].removeprefix("Input should be ")
    if kind != UNEXPECTED:
        in_plain_words = _EXPECTED.get(kind, "").format(**detail.get("ctx", {}))
        expected = description or in_plain_words or expected
    return f"{key}={_shown(value)}: expected {expected}"


def _missing(keys: list[str], schema: type[BaseModel]) -> str:
    """Name the keys that no file gives, and the ways in which that comes about."""
    key = max(keys, key=lambda key: "." in key)
    if how := together(key, schema):
        return f"{some(keys)} is needed; give all together: {how}"
    if key.endswith("._target_"):
        return f"{key} is needed: the dotted path of a class; give it as {key}=..."
    removed, group = f"~{key} on the command line removes it", key.partition(".")[0]
    if "." not in key:
        removed += f", and so does {key}=[]"
    else:
        first = "/stage@stages.<name>: default" if group == "plan" else "base"
        removed += f", or its file in conf/{group}/ does not begin with defaults: [{first}]"
    return f"missing from the config: {some(keys)}; {removed}"


def _field(schema: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], str | None]:
    """The keys of an error's field, and the field's description.

    For a field with a description pydantic's location continues into the branches of its union;
    users know only the key of the field.
    """
    kind: Any = schema
    keys: list[str] = []
    for part in map(str, loc):
        keys.append(part)
        if not _is_model(kind):  # dict[str, X]: continue with X
            kind = get_args(kind)[-1] if get_origin(kind) is dict else None
        elif field := kind.model_fields.get(part):
            if field.description:
                return keys, field.description
            kind = field.annotation
    return keys, None


def together(key: str, schema: type[BaseModel]) -> str | None:
    """How to give a key of a section that may be null, as `model.lora`; None for other keys."""
    section = key.rpartition(".")[0]
    kind = _type_of(section, schema) if section else None
    if NoneType not in get_args(kind) or (model := _model_in(kind)) is None:
        return None
    needed = [f"{name}: ..." for name, field in model.model_fields.items() if field.is_required()]
    return f'"{section}={{{", ".join(needed)}}}"'


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, which may also be null."""
    kinds = get_args(annotation) if NoneType in get_args(annotation) else (annotation,)
    return next((kind for kind in kinds if _is_model(kind) and kind is not Target), None)


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return "null" if value is None else str(value)


def known_keys(schema: type[BaseModel], prefix: str = "", below: str = "") -> Iterator[str]:
    """Yield every dotted key of a schema; of freely named nodes, such as stages, those `below`."""
    for name, field in schema.model_fields.items():
        yield (key := f"{prefix}{name}")
        node, kind = key, field.annotation
        if get_origin(kind) is dict and below.startswith(f"{key}."):
            node, kind = ".".join(below.split(".")[: key.count(".") + 2]), get_args(kind)[-1]
        if model := _model_in(kind):
            yield from known_keys(model, f"{node}.", below)


def suggestion(key: str, schema: type[BaseModel]) -> str:
    """Suggest the key that was probably meant, and where to see all keys."""
    # A key of a node that this config does not have, such as another plan's stage, is no stranger.
    strange = _type_of(key, schema) in (None, Any)
    for answer in answers(key) if strange else ():
        first = answer.removeprefix("-m ").partition("=")[0].replace("/", ".")
        sentence = " " in first
        if first == key:  # of another option of its group
            continue
        # Only commands that train or draw have a folder of their own.
        known = "seed" if first.startswith("hydra.") else first
        if sentence or _type_of(known, schema) is not None:
            return f"in pets: {answer}"
    keys = list(known_keys(schema, below=key))
    keys = [known for known in keys if not f"{key}.".startswith(f"{known}.")]
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    see_all = f"--cfg {'hydra' if key.startswith('hydra.') else 'job'} shows every key"
    return f"did you mean {close[0]}? ({see_all})" if close else see_all


def is_argument(key: str, schema: type[BaseModel]) -> bool:
    """Whether the key is an argument of a `_target_` or the trainer, which `+key` adds."""
    return _type_of(key, schema) is Any


def _type_of(key: str, schema: type[BaseModel]) -> Any:
    """The type of a dotted key; Any for an argument, None if there is no such key."""
    kind: Any = schema
    for name in key.split("."):
        if get_origin(kind) is dict:
            kind = get_args(kind)[-1]
        elif kind is Any or Target in (kind, *get_args(kind)):
            kind = Any
        else:
            model = _model_in(kind)
            field = model.model_fields.get(name) if model else None
            kind = field.annotation if field else None
    return kind
