"""Interpolations for configs, in addition to OmegaConf's own."""

from __future__ import annotations

import os
import re
import secrets
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from pets.distributed.ranks import ranks
from pets.system.installation import conf_dir

# One tag per process: runs started within the same second get different directories.
_TAG = secrets.token_hex(3)


def register_resolvers() -> None:
    """Register the interpolations.

    - `${run_tag:}`: six random hex digits, the same throughout one process.
    - `${either:a,b}`: `a`, or `b` if `a` is null or no folder with files.
    - `${as_name:a}`: `a` as the name of a folder: `user-name` for `user/name`.
    - `${rank:}`: the rank of this process.
    - `${explained:}`: every key of the command with its comment, as `--help` shows them.
    """
    resolvers: dict[str, Any] = {
        "run_tag": lambda: _TAG,
        # Hydra creates the folder before the config is validated: none for one that is mistyped.
        "either": lambda a, b: b if a is None or not any(Path(_home(a)).glob("*")) else _home(a),
        "as_name": lambda text: re.sub(r"[^\w.-]+", "-", str(text)).strip("-.") or "data",
        "rank": lambda: ranks().rank,
        "explained": _explained,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _home(path: object) -> str:
    # As text: the 3 of `run=3` is a number here.
    return os.path.expanduser(str(path))  # noqa: PTH111 - raises nothing without a home


def _explained(*, _root_: DictConfig) -> str:
    """The keys of a command's primary config, then those of every config group that it uses."""
    hydra = _root_.hydra
    packages: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for choice, option in reversed(hydra.runtime.choices.items()):
        group, _, package = choice.partition("@")
        if not group.startswith("hydra/"):
            packages[group, option].append(package or group.replace("/", "."))
    for override in hydra.overrides.task:  # Hydra lists no choices of several, callbacks=[a,b]
        if several := re.fullmatch(r"(\w+)=\[(\w+(?:,\w+)*)\]", override):
            for option in several[2].split(","):
                packages[several[1], option].append(several[1])
    # A group that only users have files for, as `local`, has no keys of pets.
    ours = [group for group in packages if (conf_dir() / group[0]).is_dir()]
    sections = [_section(*group, packages[group]) for group in ours]
    text = "\n\n".join([_keys(conf_dir() / f"{hydra.job.name}.yaml"), *sections])
    return text.replace("$", "$$")  # Hydra interpolates text after a single dollar sign


def _section(group: str, option: str | None, packages: list[str]) -> str:
    """A group's options, and the keys that the chosen one has."""
    folder = conf_dir() / group
    options = sorted(file.stem for file in folder.glob("*.yaml"))
    others = ", ".join(name for name in options if name not in ("base", option))
    if option is None:
        return f"== {group}=...: {others} =="
    title = f"{group}={option}" + (f", or {others}" if others else "")
    if packages != ["_global_"] and group != "experiment":  # which have keys of other groups
        title += f"; its keys are {', '.join(f'{package}.<key>' for package in packages)}"
    keys = _keys(folder / ("base.yaml" if "base" in options else f"{option}.yaml"))
    return f"== {title} ==\n{keys}"


def _keys(file: Path) -> str:
    """A config's text without its defaults list and Hydra's own settings."""
    if not file.is_file():
        return "(an option of your own)"
    text = file.read_text(encoding="utf-8").partition("\nhydra:\n")[0]
    if "defaults" in (yaml.safe_load(text) or {}):
        text = text.partition("\ndefaults:\n")[2].partition("\n\n")[2]
    return text.strip("\n")
