"""User errors as one line in the user's terms; bugs keep their traceback."""

from __future__ import annotations

import difflib
import re

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from pets.config.validation import suggestion
from pets.errors import PetsError
from pets.system.os_errors import system_error


def one_line(error: BaseException, command: str, schema: type[BaseModel]) -> str | None:
    """Return one line about a user error or an error of the operating system, or None for a bug."""
    if isinstance(error, HydraException) and isinstance(error.__cause__, PetsError):
        return str(error.__cause__)  # raised by a launcher
    if isinstance(error, PetsError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _of_hydra(error, command, schema)
    if isinstance(error, ValueError) and "can be specified" in str(error):
        return str(error)  # mutually exclusive Hydra flags
    return system_error(error)


def _of_hydra(error: Exception, command: str, schema: type[BaseModel]) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
        choices = [name for name in error.options or () if name != "base"]
        close = difflib.get_close_matches(option, choices, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{group}={option}: no such option; {hint}choose one of {', '.join(choices)}"
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).partition("=")
        return f"{error.override}: cannot be read as key=value; quote it: \"{key}='{value}'\""
    if match := re.search(r"Could not override '([^']+)'. No match in the defaults list", text):
        return f"{match[1]}: no such config group; pets {command} --help lists the groups"
    if match := re.search(r"Could not (?:override|delete from config).*?'([^']+)'", text):
        key = match[1]
        # At the top level no key can be added: the schema has them all.
        adds = f"; +{key}=... adds one" if "." in key else ""
        return f"{key}: no such key; {suggestion(key, schema)}{adds}"
    cause = error.__cause__
    detail = f" ({' '.join(str(cause).split())})" if cause and str(cause) not in text else ""
    return f"{text}{detail}"
