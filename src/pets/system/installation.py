"""Where pets is installed, and the command that installs missing packages."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

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
    if top is None:
        return f'{_pip()} install "{DISTRIBUTION}[{extra}]"'
    return f'{_pip()} install -e "{"." if top == Path.cwd() else top}[{extra}]"'


def _pip() -> str:
    """`pip` if the shell finds the one of this environment, else `<python> -m pip`."""
    python, pip = Path(sys.executable), shutil.which("pip")
    if pip is not None and Path(pip).parent == python.parent:
        return "pip"
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(os.fspath(python))} -m pip"
