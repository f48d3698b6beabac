"""`pets ...` in a process forked from one that has imported torch: seconds less a command."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pets.sweep.worker import PRELOAD

# Torch reads it when it is loaded, so in the process that all are forked from, not in a rank.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
CONTEXT = multiprocessing.get_context("forkserver")
# What the commands import, once instead of in every one of them.
CONTEXT.set_forkserver_preload(
    [
        *PRELOAD, "pets.cli.main", "hydra", "pets.report.write", "sklearn.linear_model",
        "sklearn.model_selection", "pets.prediction.hub", "pets.prediction.job",
    ]
)  # fmt: skip


class Running:
    """A command that has begun, which writes to the files `out` and `err`; `given` is its standard
    input."""

    def __init__(self, args: Sequence[str], folder: Path, given: Path | None = None) -> None:
        self.words, self._place = list(args), tempfile.TemporaryDirectory()
        self.out, self.err = Path(self._place.name, "out"), Path(self._place.name, "err")
        arguments = (self.words, folder, self.out, self.err, dict(os.environ), given)
        self.process = CONTEXT.Process(target=_main, args=arguments)
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def end(self) -> subprocess.CompletedProcess[str]:
        """Wait for it: its exit code, standard output and error."""
        self.process.join()
        assert self.process.exitcode is not None
        out, err = (file.read_text() if file.exists() else "" for file in (self.out, self.err))
        self._place.cleanup()
        return subprocess.CompletedProcess(self.words, self.process.exitcode, out, err)


def pets(args: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """As `python -m pets <words>` in a folder: its exit code, standard output and error."""
    return Running(args, folder).end()


def _main(
    args: list[str], folder: Path, out: Path, err: Path, env: dict[str, str], given: Path | None
) -> None:
    os.environ.clear()
    os.environ |= env
    os.chdir(folder)
    for number, file in ((1, out), (2, err)):
        with file.open("wb") as stream:
            os.dup2(stream.fileno(), number)
    if given is not None:
        with given.open("rb") as stream:
            os.dup2(stream.fileno(), 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = ["pets", *args]
    sys.path.insert(0, str(folder))  # as -m does
    from pets.cli.main import main

    main()
