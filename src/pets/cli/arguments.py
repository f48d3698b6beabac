"""Translate command line arguments to Hydra overrides."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from pets.io.serialize import quoted

# Hydra's flags, and those that take a value: it is never the short form of a key.
FLAGS = (
    "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m",
    "--shell-completion", "-sc",
)  # fmt: skip
FLAGS_WITH_A_VALUE = (
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn",
    "--config-dir", "-cd", "--info", "-i", "--experimental-rerun",
)  # fmt: skip

# Commands by the names that fastai and Lightning have for them, with what these say besides.
ALIASES = {
    "lr_find": ("find-lr",),
    "lr-find": ("find-lr",),
    "validate": ("eval", "split=valid"),
    "test": ("eval", "split=test"),
}


def to_overrides(command: str, args: Sequence[str]) -> list[str]:
    """Expand the short forms among a command's arguments to Hydra overrides."""
    # Hydra takes flags before or after all overrides, not between two of them.
    flags, overrides = list[str](), list[str]()
    for arg, before in zip(args, ["", *args], strict=False):
        is_flag = arg.startswith("-") or before in FLAGS_WITH_A_VALUE
        (flags if is_flag else overrides).append(arg)
    if command == "predict" and {"-m", "--multirun"} & set(flags):
        return [*flags, *overrides]  # commas are choices there
    if command == "compare":
        overrides = _two_runs(overrides)
    return [*flags, *(_to_override(command, arg) for arg in overrides)]


def _to_override(command: str, arg: str) -> str:
    if command == "cache" and re.fullmatch(r"\w+", arg):
        return f"action={arg}"
    other = re.match(r"[-+~]|[\w.]+=", arg)
    if command == "models" and not other:
        return f"pattern={quoted(arg)}"
    if command == "summarize" and _is_place(arg):
        return f"sweep={quoted(arg)}"
    # Quote a path or glob; text in Hydra's grammar is left unchanged.
    path = re.fullmatch(r"(source|out)=((?!null$|['\"]|.*\$\{).+)", arg, re.DOTALL)
    if command == "predict" and path:
        return f"{path[1]}={quoted(path[2])}"
    # Hydra rejects a bare `~`, and for its own keys would create a folder of that name.
    if home := re.fullmatch(r"(\+{0,2}[\w.@/]+)=(~(?:/.*)?)", arg, re.DOTALL):
        paths = re.split(r",(?=~/)", home[2])  # choices of a sweep
        return f"{home[1]}={','.join(quoted(os.path.expanduser(p)) for p in paths)}"  # noqa: PTH111
    # Lightning and Hugging Face say `val`.
    arg = re.sub(r"^(split|monitor)=val(?=/|$)", r"\1=valid", arg)
    # `precompute=true` would replace the whole group and lose its other keys.
    return re.sub("^precompute=", "precompute.enabled=", arg)


def _is_place(arg: str) -> bool:
    """Whether an argument is a folder, not `key=value`; its name may have a `=`, too."""
    is_override = re.match(r"[-+~]|[\w./@]+=", arg)
    return not is_override or (arg[0] not in "-+~" and Path(arg).is_dir())


def _two_runs(args: list[str]) -> list[str]:
    """Name the runs of `pets compare a b`: the first is `old`, the next `new`, unless given so."""
    left = [key for key in ("old", "new") if not any(arg.startswith(f"{key}=") for arg in args)]
    named = list[str]()
    for arg in args:
        if not _is_place(arg):
            named.append(arg)
            continue
        named.append(f"{left.pop(0) if left else 'new'}={quoted(arg)}")
    return named


def completion(args: Sequence[str], commands: Collection[str]) -> list[str] | None:
    """Return the sub-command that a shell's completion query is about, and Hydra's arguments.

    Hydra's shell functions call `pets -sc query=bash` with the line typed so far in COMP_LINE. Its
    first word after `pets` is completed here: the sub-commands are printed, the result is None.
    The sub-command's application completes the rest.
    """
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()
    on_command = len(typed) < 2 or (len(typed) == 2 and not line.endswith(" "))
    if args[1:] and args[1].startswith("query=") and on_command:
        print(" ".join(commands))
        return None
    if len(typed) >= 2 and typed[1] in commands:
        os.environ["COMP_LINE"] = line.replace(f" {typed[1]}", "", 1)
        return [typed[1], *args]
    return ["train", *args]
