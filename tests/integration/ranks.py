"""Processes that are the ranks of one training, over gloo on this machine."""

import os
import runpy
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from pets.distributed.ranks import as_rank
from tests.integration.forked import CONTEXT


@dataclass(frozen=True)
class Started:
    """Two processes and the files of what each says."""

    processes: list[BaseProcess]
    files: list[Path]

    def end(self, timeout: float = 300) -> list[int | None]:
        """Wait for both; their exit codes."""
        for process in self.processes:
            process.join(timeout)
        return [process.exitcode for process in self.processes]

    def send(self, rank: int, number: int) -> None:
        """A signal to one of them."""
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def said(self, rank: int) -> str:
        return self.files[rank].read_text()


def start_two_ranks(folder: Path, *commands: Sequence[str]) -> Started:
    """`python -m ...` with the words for every rank, or for each its own; none is waited for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes, files = [], [folder / f"said_by_{rank}.txt" for rank in range(2)]
    folder.mkdir(parents=True, exist_ok=True)
    for rank, file in enumerate(files):
        file.touch()
        command = commands[rank % len(commands)]
        arguments = (list(command), folder, as_rank(rank, 2, port), file)
        processes.append(CONTEXT.Process(target=_main, args=arguments))
        processes[-1].start()
    return Started(processes, files)


def on_two_ranks(module: str, outs: list[Path], args: list[str]) -> None:
    """`python -m module <out> <words>` on both ranks, to its good end."""
    started = start_two_ranks(outs[0].parent, *([module, str(out), *args] for out in outs))
    assert started.end() == [0, 0], [started.said(0), started.said(1)]


def _main(args: list[str], folder: Path, environment: Mapping[str, str], screen: Path) -> None:
    os.environ |= environment
    os.chdir(folder)
    with screen.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = open(1, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = args
    runpy.run_module(args[0], run_name="__main__", alter_sys=True)
