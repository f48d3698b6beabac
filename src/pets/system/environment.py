"""What a run came from: code, packages, machine."""

from __future__ import annotations

import socket
import sys
from functools import cache
from pathlib import Path
from typing import Any


def environment(ranks: int) -> dict[str, Any]:
    """What a run came from: code, packages, machine, folder, and its number of `ranks`."""
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
    """The code, and the folder that paths of the config are from."""
    return {"pets": code_version(), "folder": str(Path.cwd())}


@cache
def _packages() -> dict[str, str]:
    """Name and version of what is installed, by the folders alone: reading the metadata of a
    hundred packages takes a second."""
    found = (folder.stem for place in sys.path for folder in Path(place).glob("*.dist-info"))
    return dict(sorted(stem.split("-", 1) for stem in found if "-" in stem))


@cache  # what runs is the code that was loaded, whatever becomes of the files
def code_version() -> str:
    """The package's version, and the commit where it runs from a git checkout."""
    import subprocess

    from pets import __version__

    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--match="]
    try:
        # A package installed below some other project's checkout is not that project's code.
        tracked = ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, check=True, capture_output=True, timeout=10)
        found = subprocess.run(git, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+{found.stdout.strip()}"
