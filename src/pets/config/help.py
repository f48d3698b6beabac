"""`pets COMMAND --help`: every key with the comment that its config gives it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml


class Choice(NamedTuple):
    """One entry of a defaults list: a group, its chosen option, and where the option's keys go."""

    group: str
    option: str | None  # None: no option is chosen
    package: str  # dotted; "" for the top level


def explained(conf: Path, command: str) -> str:
    """Return the keys of a command's primary config, then those of every config group it uses.

    Args:
        conf: the folder of the configs.
        command: the name of the primary config, without `.yaml`.
    """
    file = conf / f"{command}.yaml"
    packages: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for group, option, package in _choices(conf, file):
        packages[group, option].append(package)
    sections = [_section(conf, *choice, packages[choice]) for choice in packages]
    # Hydra interpolates what follows a single dollar sign.
    return "\n\n".join([_keys(file), *sections]).replace("$", "$$")


def _choices(
    conf: Path,
    file: Path,
    inside: str = "",
    package: str = "",
    overrides: Mapping[str, str | None] | None = None,
) -> Iterator[Choice]:
    """The groups of a file's defaults list, and of the options that they choose.

    Args:
        conf: the folder of the configs.
        file: the config that has the list.
        inside: the group that this file belongs to.
        package: where this file's own keys are.
        overrides: the options that files above this one choose for groups below it.
    """
    entries = _defaults(file)
    own = {
        f"{inside}/{key.removeprefix('override ')}".lstrip("/"): option
        for entry in entries
        if isinstance(entry, dict)
        for key, option in entry.items()
        if key.startswith("override ")
    }
    overrides = own | dict(overrides or {})
    for entry in entries:
        if isinstance(entry, str):
            if entry != "_self_":  # another option of the same group, on which this one builds
                option_file = file.with_name(f"{entry}.yaml")
                yield from _choices(conf, option_file, inside, package, overrides)
            continue
        ((key, option),) = entry.items()
        if key.startswith("override "):
            continue
        name, _, target = key.partition("@")
        group = name[1:] if name.startswith("/") else f"{inside}/{name}".lstrip("/")
        option = overrides.get(group, option)
        own_package = target or name.lstrip("/").replace("/", ".")
        keys_at = "" if target == "_global_" else f"{package}.{own_package}".lstrip(".")
        yield Choice(group, option, keys_at)
        if option is not None:
            yield from _choices(conf, conf / group / f"{option}.yaml", group, keys_at, overrides)


def _section(conf: Path, group: str, option: str | None, packages: list[str]) -> str:
    """A group's options, and the keys that the chosen one has."""
    options = sorted(file.stem for file in (conf / group).glob("*.yaml"))
    others = [name for name in options if name not in ("base", option)]
    if option is None:
        return f"== {group}=...: {', '.join(others)} =="
    title = f"{group}={option}" + (f", or {', '.join(others)}" if others else "")
    if any(packages):
        title += f"; its keys are {', '.join(f'{package}.<key>' for package in packages)}"
    keys = _keys(conf / group / f"{'base' if 'base' in options else option}.yaml")
    return f"== {title} ==\n{keys}"


def _keys(file: Path) -> str:
    """A config's text without its defaults list and Hydra's own settings."""
    text = file.read_text(encoding="utf-8").partition("\nhydra:\n")[0]
    if _defaults(file):
        text = text.partition("\ndefaults:\n")[2].partition("\n\n")[2]
    return text.strip("\n")


def _defaults(file: Path) -> list[str | dict[str, str | None]]:
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return values.get("defaults", []) if isinstance(values, dict) else []
