"""Where pets is installed, its version, and its environment."""

from __future__ import annotations

import shlex
import socket
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pets.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
DISTRIBUTION = "pets-lightning"  # `pets` on the package index is another project


def checkout() -> Path | None:
    """Return the top folder of the checkout that pets runs from; None if it is installed."""
    return None if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1]


def conf_dir() -> Path:
    """Return the folder of the configs, in the installed package or at the top of the checkout."""
    return (checkout() or _PACKAGE) / "conf"


def install(extra: str) -> str:
    """Return the command that installs an extra into the environment of pets."""
    top = checkout()
    what = f'"{DISTRIBUTION}[{extra}]"' if top is None else f'-e "{top}[{extra}]"'
    return f"{shlex.quote(sys.executable)} -m pip install {what}"


def need_server(command: str, *more: str) -> None:
    """Raise ConfigError if a package of a command that serves pages is not installed.

    `more` are packages beside those that every such command needs.
    """
    names = ("fastapi", "uvicorn", *more, "prometheus_client")
    if missing := [name for name in names if find_spec(name) is None]:
        raise ConfigError(f"pets {command}: needs {', '.join(missing)}; {install('serve')}")


def environment(ranks: int) -> dict[str, Any]:
    """Describe code, packages, machine, folder and the number of `ranks` of a run."""
    import platform

    import torch

    return {
        **origin(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "threads": torch.get_num_threads(),
        "ranks": ranks,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": _packages(),
    }


def origin() -> dict[str, str]:
    """Return the code version, and the folder that the config's paths are relative to."""
    return {"pets": code_version(), "folder": str(Path.cwd())}


@cache
def _packages() -> dict[str, str]:
    """Installed packages, only from folder names: reading their metadata takes a second."""
    stems = (folder.stem for path in sys.path for folder in Path(path).glob("*.dist-info"))
    return dict(sorted(stem.split("-", 1) for stem in stems if "-" in stem))


def version() -> str:
    """Return the installed package's version: of the last tag when it was built or installed."""
    from importlib import metadata

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+unknown"  # a checkout that was not installed


@cache  # the code that was loaded, even if files change later
def code_version() -> str:
    """Return the package's version; in a git checkout the last tag, commits since, and the commit.

    0.2.0 is the tag itself, 0.2.0+3.g0123456789ab three commits later, 0+0123456789ab without any
    tag; `.dirty` is added where files differ from the commit.
    """
    import subprocess

    top = checkout()
    if top is None or not (top / ".git").exists():
        return version()
    command = ["git", "-C", str(top), "describe", "--tags", "--match=v[0-9]*"]
    command += ["--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return version()
    words = found.stdout.strip().split("-")
    tag = words.pop(0).removeprefix("v") if words[0].startswith("v") else "0"
    return "+".join([tag, *filter(None, [".".join(words)])])
