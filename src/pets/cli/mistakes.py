"""User errors as one line in the user's terms; bugs keep their traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from pets.cli.arguments import FLAGS, FLAGS_WITH_A_VALUE
from pets.config.foreign import answers
from pets.config.validation import is_argument, known_keys, suggestion, together
from pets.errors import ConfigError, PetsError
from pets.system.installation import conf_dir
from pets.system.os_errors import system_error

_SEVERAL = ("callbacks", "logger")  # groups of which a config has several options
_ONE = ("model", "model/head", "data", "loss", "optimizer", "plan")  # of these it has one
_NO_NAME = re.compile(r"null|true|false|[+-]?[\d.]+")
# How to name what is no option of a group.
_OWN = {
    "model": "; of timm or torchvision: model=timm model.name={option}",
    "data": "; your own photos: data=folder data.root=<folder>",
    "loss": "; another one: loss=own loss._target_=<its dotted path>",
    "debug": "; Lightning's fast_dev_run is debug=fast",
    "optimizer": "; another one: optimizer._target_=<its dotted path>",
}


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
        # Of a list of options, callbacks=[a,b], Hydra does not say what there is.
        there = error.options or sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
        choices = [name for name in there if name != "base"]
        close = difflib.get_close_matches(option.lower(), choices, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        own = _OWN.get(group, "").format(option=option)
        return f"{group}={option}: no such option; {hint}choose one of {', '.join(choices)}{own}"
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).partition("=")
        return f"{error.override}: cannot be read as key=value; quote it: \"{key}='{value}'\""
    if match := re.search(r"Could not override '([^']+)'. No match in the defaults list", text):
        listed = f"pets {command} --help lists the groups"
        return f"{match[1]}: no such config group; {_option_with(match[1]) or listed}"
    if match := re.search(r"Ambiguous value for argument '([^=]+)=(.+?)' 1\.", text):
        each = "; a run with each: pets train -m ..." if command == "train" else ""
        line = f"{match[1]}={match[2]}: expected one value; or a list"
        return f"{line}: {match[1]}=[{match[2]}]{each}"
    if match := re.search(r"^Multiple values for ([\w/]+)\. To override .*: ([\w/]+)'", text):
        group, option = match.groups()
        return f"+{group}={option}: {group} is chosen already; expected {group}={option}" + (
            f", or several: {group}=[{option},...]" if group in _SEVERAL else ""
        )
    if match := re.match(r"(?:\S+@)?(\S+) appears more than once in the final defaults list", text):
        return f"{match[1]}: is chosen by two options of a group; expected one option"
    if match := re.search(r"unexpected keyword argument '(\w+)'.* full_key: ([\w.]+)$", text):
        key = f"{match[2]}.{match[1]}"
        return f"{key}: no such argument; {_option_with(key) or 'remove it'}"
    if match := re.search(r"Could not (?:override|delete from config).*?'([^']+)'", text):
        key = match[1]
        if key in known_keys(schema) and (how := together(key, schema)):
            return f"{key}: {key.rpartition('.')[0]} is null; give its keys together: {how}"
        node = getattr(error.__cause__, "full_key", None) or key  # its first part that is not there
        if instead := _option_with(key):
            return f"{key}: no such key; {instead}"
        return f"{key}: no such key; {suggestion(key, schema)}{_adds(key, node, schema)}"
    cause = error.__cause__
    detail = f" ({' '.join(str(cause).split())})" if cause and str(cause) not in text else ""
    return f"{text}{detail}"


def _option_with(key: str) -> str | None:
    """Name the options of a group that have a key or a group which the chosen one has not."""
    group, _, last = key.replace(".", "/").rpartition("/")
    files = sorted((conf_dir() / group).glob("*.yaml")) if group else []
    has = re.compile(rf"^(  - )?{re.escape(last)}: ", re.MULTILINE)
    names = [file.stem for file in files if has.search(file.read_text(encoding="utf-8"))]
    return f"{group}={' or '.join(names)} has it" if names and "base" not in names else None


def _adds(key: str, node: str, schema: type[BaseModel]) -> str:
    """The hint that `+` adds a key, where it does: arguments of classes, and new such nodes."""
    # conf/trainer/default.yaml has all arguments of the trainer that work here.
    if answers(key) or key.startswith("trainer.") or not is_argument(key, schema):
        return ""
    group, _, option = node.rpartition(".")
    if len(node.split(".")) < len(key.split(".")):
        if (conf_dir() / group / f"{option}.yaml").is_file():
            return f"; {group}={option} has it"
        return f"; +{node}._target_=<a dotted path> adds one"
    if group == "loss":  # each has all its keys in its file, but those of your own
        return ""
    return f"; +{key}=... adds an argument to {key.rpartition('.')[0]}"


def check_options(overrides: Sequence[str]) -> None:
    """Raise ConfigError unless the override of a config group names one of its options.

    Null, numbers and truth values name none, and of a group that takes one option a config cannot
    have several.
    """
    for override in overrides:
        group, equals, value = override.lstrip("+").partition("=")
        choices = sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
        given = [] if value.startswith("{") else re.split(r"[\[\],\s]+", value.lower())
        if equals and choices and any(_NO_NAME.fullmatch(name) for name in given):
            listed = ", ".join(name for name in choices if name != "base")
            raise ConfigError(f"{override}: expected an option of {group}, one of {listed}")
        if group in _ONE and re.fullmatch(r"\[.+,.+\]", value):
            each = f"pets train -m {group}={value[1:-1]}"
            raise ConfigError(f"{override}: expected one option; to compare them: {each}")


def check_flags(args: Sequence[str], schema: type[BaseModel]) -> None:
    """Raise ConfigError for a flag that Hydra does not have, or that lacks its value."""
    for arg, before, after in zip(args, ["", *args], [*args[1:], "-"], strict=False):
        if not arg.startswith("-") or before in FLAGS_WITH_A_VALUE:
            continue
        name = arg.partition("=")[0]
        if name not in (*FLAGS, *FLAGS_WITH_A_VALUE):
            raise ConfigError(_not_a_flag(name, schema))
        if arg in FLAGS_WITH_A_VALUE and after.startswith("-") and arg not in ("--info", "-i"):
            raise ConfigError(f"{arg}: expected a value after it")


def _not_a_flag(flag: str, schema: type[BaseModel]) -> str:
    key = flag.lstrip("-").replace("-", "_")
    flags = [known for known in (*FLAGS, *FLAGS_WITH_A_VALUE) if known.startswith("--")]
    if key in ("config", "cfg_file", "config_file", "yaml"):
        hint = "your own YAML: --config-dir <folder> experiment=<name>, for <folder>/experiment/"
    elif key in known_keys(schema, below=key):
        hint = f"{key}=..."
    elif close := difflib.get_close_matches(flag, flags, n=1, cutoff=0.8):
        hint = f"did you mean {close[0]}?"
    else:
        hint = suggestion(key, schema)
    return f"{flag}: no such flag, pets takes key=value; {hint}"
