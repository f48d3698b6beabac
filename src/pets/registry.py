"""Registries of entries chosen by name, each with a one-line description."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any, Protocol, TypeVar

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

UNEXPECTED = "unexpected"  # the type of pydantic's error


class Named(Protocol):
    """An entry of a registry: its name and a one-line description."""

    @property
    def name(self) -> str: ...

    @property
    def doc(self) -> str: ...


Entry = TypeVar("Entry", bound=Named)


class Registry(dict[str, Entry]):
    """Entries of one kind by name, in insertion order.

    Each kind has one registry, beside the type of its entries: `METRICS` in `metrics.py`,
    `LABEL_RULES` in `data/labels.py`, `LOSSES` in `training/losses.py`, `SECTIONS` in
    `report/sections.py`, `FORMATS` in `export/formats.py`.
    """

    def add(self, entry: Entry) -> Entry:
        """Add an entry and return it. Raises ValueError if another one has its name."""
        if entry.name in self:
            raise ValueError(f"{entry.name} is registered twice")
        self[entry.name] = entry
        return entry


def named_in(registry: str, paths: bool = False) -> AfterValidator:
    """Return a validator for a config's field with a name, or a list of names, of a registry.

    The registry is given as `pets.data.labels:LABEL_RULES`. Its module is imported when a value is
    checked, so that the config package does not depend on others. With `paths`, the dotted path of
    a function is a value, too.
    """
    module, _, attribute = registry.partition(":")

    def check(value: Any) -> Any:
        entries: Registry[Any] = getattr(import_module(module), attribute)
        for name in [value] if isinstance(value, str) else value:
            if name not in entries and not (paths and "." in name):
                raise unexpected(expected(name, entries, paths))
        return value

    return AfterValidator(check)


def unexpected(expected: str) -> PydanticCustomError:
    """Return a validator's error that is shown as `key=value: expected ...`."""
    return PydanticCustomError(UNEXPECTED, "{expected}", {"expected": expected})


def expected(name: str, entries: Registry[Any], paths: bool = False) -> str:
    """List the names of all entries, with the closest match as a suggestion."""
    *most, last = entries
    known = f"{', '.join(most)} or {last}" if most else last
    known += ", or the dotted path of a function" if paths else ""
    close = difflib.get_close_matches(name, entries, n=1)
    return f"{known}; did you mean {close[0]}?" if close else known
