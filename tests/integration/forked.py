"""`pets ...` in a process forked from one that has imported torch: seconds less a command."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pets.sweep.warm"])


def pets(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """As `python -m pets <words>` in a folder: its exit code, standard output and error."""
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        process = started(words, folder, out, err)
        process.join()
        assert process.exitcode is not None
        said = (file.read_text() if file.exists() else "" for file in (out, err))
        return subprocess.CompletedProcess(list(words), process.exitcode, *said)


def started(words: Sequence[str], folder: Path, out: Path, err: Path) -> Any:
    """The same under way: its process, which writes to these files."""
    process = CONTEXT.Process(target=_main, args=(list(words), folder, out, err, dict(os.environ)))
    process.start()
    return process


def _main(words: list[str], folder: Path, out: Path, err: Path, env: dict[str, str]) -> None:
    os.environ.clear()
    os.environ |= env
    os.chdir(folder)
    for number, file in ((1, out), (2, err)):
        with file.open("wb") as stream:
            os.dup2(stream.fileno(), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = ["pets", *words]
    sys.path.insert(0, str(folder))  # as -m does
    from pets.cli import main

    main()
