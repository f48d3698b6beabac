"""Errors of Hydra and OmegaConf about a command line, as one line in the user's terms."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from pydantic import BaseModel

from pets.config.validation import suggestion
from pets.errors import PetsError


def explain(error: Exception, command: str, schema: type[BaseModel]) -> str:
    """Return one line for an error in composing the config of `pets <command>`."""
    text = " ".join(str(error).split())
    for mistake in (error, error.__cause__):  # Hydra wraps errors of launchers
        if isinstance(mistake, PetsError):
            return str(mistake)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(str(error.missing_cfg_file), error.options or ())
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).partition("=")
        return f"{error.override}: cannot be read as key=value; quote it: \"{key}='{value}'\""
    if match := re.search(r"Could not override '([^']+)'. No match in the defaults list", text):
        return f"{match[1]}: no such config group; pets {command} --help lists the groups"
    if match := re.search(r"Could not (?:override|delete from config).*?'([^']+)'", text):
        key = match[1]
        # At the top level there is nothing to add: the schema names all keys.
        adds = f"; +{key}=... adds one" if "." in key else ""
        return f"{key}: no such key; {suggestion(key, schema)}{adds}"
    cause = error.__cause__
    detail = f" ({' '.join(str(cause).split())})" if cause and str(cause) not in text else ""
    return f"{text}{detail}"


def _missing_option(path: str, options: Sequence[str]) -> str:
    group, _, option = path.removesuffix(".yaml").rpartition("/")
    choices = [name for name in options if name != "base"]
    close = difflib.get_close_matches(option, choices, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{group}={option}: no such option; {hint}choose one of {', '.join(choices)}"
