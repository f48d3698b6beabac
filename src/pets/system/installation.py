"""What to type for packages that are missing, where pets runs from a checkout or is installed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
DISTRIBUTION = "pets-lightning"  # `pets` on the package index is somebody else's


def checkout() -> Path | None:
    """The top folder of the checkout that pets runs from; None where it is installed."""
    return None if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1]


def conf_dir() -> Path:
    """Where the configs are: inside the installed package, or at the top of the checkout."""
    return (checkout() or _PACKAGE) / "conf"


def install(extra: str) -> str:
    """The command that adds the packages of an extra to the environment that pets runs in."""
    top = checkout()
    if top is None:
        return f'{_pip()} install "{DISTRIBUTION}[{extra}]"'
    return f'{_pip()} install -e "{"." if top == Path.cwd() else top}[{extra}]"'


def _pip() -> str:
    """`pip` where a shell finds the one of this environment, else that of this interpreter."""
    python, found = Path(sys.executable), shutil.which("pip")
    if found is not None and Path(found).parent == python.parent:
        return "pip"
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(os.fspath(python))} -m pip"
