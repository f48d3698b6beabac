"""`pets COMMAND --help`: every key with the comment that its config gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def explained(conf: Path, command: str) -> str:
    """The keys of a command as its primary config has them, then those of its config groups."""
    file = conf / f"{command}.yaml"
    parts = [_keys(file)]
    for entry in _defaults(file):
        if isinstance(entry, dict):
            ((group, option),) = entry.items()
            if not group.startswith("override "):
                name, _, package = group.partition("@")
                parts.append(_group(conf, name, package, option))
    # Hydra fills in what stands behind a dollar sign.
    return "\n\n".join(parts).replace("$", "$$")


def _group(conf: Path, group: str, package: str, option: str) -> str:
    """Its options, and the keys that they have."""
    options = sorted(file.stem for file in (conf / group).glob("*.yaml"))
    others = [name for name in options if name not in ("base", option)]
    title = f"{group}={option}" + (f", or {', '.join(others)}" if others else "")
    if package != "_global_":
        title += f"; its keys are {group}.<key>"
    keys = _keys(conf / group / f"{'base' if 'base' in options else option}.yaml")
    return f"== {title} ==\n{keys}"


def _keys(file: Path) -> str:
    """What stands between the head of a config and Hydra's own settings."""
    text = file.read_text(encoding="utf-8").partition("\nhydra:\n")[0]
    if _defaults(file):
        text = text.partition("\ndefaults:\n")[2].partition("\n\n")[2]
    return text.strip("\n")


def _defaults(file: Path) -> list[Any]:
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found.get("defaults", []) if isinstance(found, dict) else []
