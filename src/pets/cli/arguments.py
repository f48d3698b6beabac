"""Translate command line arguments to Hydra overrides."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

# Hydra's flags that take a value: it is never a short form of a key.
_FLAGS_WITH_A_VALUE = (
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn",
    "--config-dir", "-cd", "--info", "-i", "--experimental-rerun",
)  # fmt: skip


def in_full(command: str, words: Sequence[str]) -> list[str]:
    """Expand the short forms among a command's arguments to Hydra overrides."""
    if command == "predict" and {"-m", "--multirun"} & set(words):
        return list(words)  # commas are choices there
    return [
        _in_full(command, word, before) for word, before in zip(words, ["", *words], strict=False)
    ]


def _in_full(command: str, word: str, before: str) -> str:
    # `precompute=true` alone would take the place of the group, with the loss of its other keys.
    if before in _FLAGS_WITH_A_VALUE:
        return word
    if command == "cache" and re.fullmatch(r"\w+", word):
        return f"action={word}"
    if command == "models" and not re.match(r"[-+~]|[\w.]+=", word):
        return f"pattern={_quoted(word)}"
    other = re.match(r"[-+~]|[\w.]+=", word)
    if command == "summarize" and (not other or (word[0] not in "-+~" and Path(word).is_dir())):
        return f"sweep={_quoted(word)}"
    # A path or glob is quoted; what is written in Hydra's grammar stays as it is.
    path = re.fullmatch(r"(source|out)=((?!null$|['\"]|.*\$\{).+)", word, re.DOTALL)
    if command == "predict" and path:
        return f"{path[1]}={_quoted(path[2])}"
    # Hydra rejects a bare `~`, and for its own keys would create a folder of that name.
    if home := re.fullmatch(r"(\+{0,2}[\w.@/]+)=(~(?:/.*)?)", word, re.DOTALL):
        paths = re.split(r",(?=~/)", home[2])  # choices of a sweep
        return f"{home[1]}={','.join(_quoted(os.path.expanduser(p)) for p in paths)}"  # noqa: PTH111
    return re.sub("^precompute=", "precompute.enabled=", word)


def given(key: str, value: object) -> str:
    """Return the override `key=value` for a text, quoted only if Hydra needs it."""
    plain = re.fullmatch(r"[\w./+-]+", str(value))
    return f"{key}={value if plain else _quoted(str(value))}"


def _quoted(word: str) -> str:
    """Quote a text so that Hydra takes it literally."""
    inside = re.sub(r"(\\*)'", r"\1\1\\'", word)
    inside = re.sub(r"(\\+)$", r"\1\1", inside)
    return f"'{inside}'".replace("${", "\\${")


def completion_words(words: Sequence[str], commands: Collection[str]) -> list[str] | None:
    """The sub-command (and Hydra's words) that a shell's completion query is about; None where the
    sub-commands themselves are the answer, which is printed.

    Hydra's shell functions call `pets -sc query=bash` with the line typed so far in COMP_LINE.
    Its first word after `pets` is completed here, the rest by the sub-command's application.
    """
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()
    on_command = len(typed) < 2 or (len(typed) == 2 and not line.endswith(" "))
    if words[1:] and words[1].startswith("query=") and on_command:
        print(" ".join(commands))
        return None
    if len(typed) >= 2 and typed[1] in commands:
        command = typed[1]
        os.environ["COMP_LINE"] = line.replace(f" {command}", "", 1)
        return [command, *words]
    return ["train", *words]
