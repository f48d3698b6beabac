"""The environment of a run: code, packages, machine."""

from __future__ import annotations

import socket
import sys
from functools import cache
from pathlib import Path
from typing import Any


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
    """Installed packages by folder names alone: reading their metadata takes a second."""
    stems = (folder.stem for path in sys.path for folder in Path(path).glob("*.dist-info"))
    return dict(sorted(stem.split("-", 1) for stem in stems if "-" in stem))


@cache  # the code that was loaded, even if files change later
def code_version() -> str:
    """Return the package's version, with the commit if it runs from a git checkout."""
    import subprocess

    from pets import __version__

    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--match="]
    try:
        # A package installed below some other project's checkout is not that project's code.
        tracked = ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, check=True, capture_output=True, timeout=10)
        commit = subprocess.run(git, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+{commit.stdout.strip()}"
