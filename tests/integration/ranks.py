"""Processes that are the ranks of one training, over gloo on this machine."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pets.ranks import as_rank


@dataclass(frozen=True)
class Started:
    """Two processes and the files of what each says."""

    processes: list[subprocess.Popen[bytes]]
    files: list[Path]

    def end(self, timeout: float = 300) -> list[int]:
        """Wait for both; their exit codes."""
        return [process.wait(timeout) for process in self.processes]

    def said(self, rank: int) -> str:
        return self.files[rank].read_text()


def start_two_ranks(folder: Path, *commands: list[str]) -> Started:
    """`python -m ...` with the words for every rank, or for each its own; none is waited for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    known = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(here)}
    folder.mkdir(parents=True, exist_ok=True)
    processes, files = [], []
    for rank in range(2):
        files.append(folder / f"said_by_{rank}.txt")
        command = [sys.executable, "-m", *commands[rank % len(commands)]]
        with files[-1].open("wb") as stream:
            processes.append(
                subprocess.Popen(
                    command, cwd=folder, env=known | as_rank(rank, 2, port),
                    stdout=stream, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
    return Started(processes, files)


def on_two_ranks(module: str, outs: list[Path], words: list[str]) -> None:
    """`python -m module <out> <words>` on both ranks, to its good end."""
    started = start_two_ranks(outs[0].parent, *([module, str(out), *words] for out in outs))
    assert started.end() == [0, 0], [started.said(0), started.said(1)]
