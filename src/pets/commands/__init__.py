"""The commands: `pets look` is the module `look.py` here and the config `conf/look.yaml`.

A module has `SCHEMA`, the pydantic model of its config, and `run(cfg)`. Its docstring begins with
"`pets look`: " and the line that `pets --help` shows. `SEVERAL_PROCESSES = True` lets torchrun or
Slurm start one process per device.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

# In the order in which a first project uses them; the others follow in alphabetical order.
_FIRST = (
    "train", "look", "verify", "race", "curve", "find-lr", "eval", "interpret", "compare",
    "label", "predict", "export", "serve", "summarize",
)  # fmt: skip


def list_commands() -> dict[str, str]:
    """Return one line of help by command, without importing the commands."""
    lines = {}
    for file in sorted(Path(__file__).parent.glob("[!_]*.py")):
        with file.open(encoding="utf-8") as stream:
            _, _, line = stream.readline().strip().strip('"').partition(": ")
        lines[file.stem.replace("_", "-")] = line.removesuffix(".")
    return {name: lines[name] for name in (*_FIRST, *lines) if name in lines}


def load_command(name: str) -> ModuleType:
    """Import the module of a command."""
    return import_module(f"{__name__}.{name.replace('-', '_')}")
