"""The processes of jobs on this machine: one per rank, or one for many runs of heads in turn."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

from pets.config import TrainConfig
from pets.distributed.ranks import as_rank, ranks_of
from pets.io.serialize import to_json
from pets.sweep.jobs import Job
from pets.sweep.worker import run_jobs
from pets.trust import canonical, inside, refusal

# Seconds for a rank to end by itself after another one has failed, and then after SIGTERM.
_PATIENCE = 30.0
# Runs of one process: whatever libraries keep of each of them stays small.
_RUNS_EACH = 100
# Loggers that leave nothing in the process that they were used in.
_LOGGERS = {f"pytorch_lightning.loggers.{name}" for name in ("TensorBoardLogger", "CSVLogger")}


class Slot:
    """A share of the machine: it trains one job at a time, in processes that it starts.

    Args:
        context: Makes the processes.
        slots: How many share the machine.
        environment: Environment variables of its processes.
    """

    def __init__(
        self, context: ForkServerContext, slots: int, environment: Mapping[str, str]
    ) -> None:
        self.context, self.slots, self.environment = context, slots, environment
        self.processes: list[BaseProcess] = []
        self.pipes: list[connection.Connection] = []
        self.kind: str | None = None
        self.runs = 0

    def train(self, job: Job, log_config: Mapping[str, Any]) -> None:
        """Begin to train a job, in the process of the one before if they may share it."""
        kind, before = kind_of(job.config), self.kind
        if kind is None or kind != before or self.runs == _RUNS_EACH or not self._alive():
            self.end()
            for variables in _environments(job, self.environment):
                pipe, theirs = self.context.Pipe()
                arguments = (theirs, self.slots, variables)
                process = self.context.Process(target=run_jobs, args=arguments, name=job.name)
                process.start()
                theirs.close()
                self.processes.append(process)
                self.pipes.append(pipe)
        self.kind, self.runs = kind, self.runs + 1
        for pipe in self.pipes:
            with contextlib.suppress(OSError):  # its process was killed
                pipe.send((str(job.run.path), job.run.trusted, log_config))
            if kind is None:
                pipe.close()

    def over(self, seconds: float) -> bool:
        """Whether the job ends within some seconds, in one of its processes."""
        ended = self.pipes if self.kind else [process.sentinel for process in self.processes]
        return bool(connection.wait(ended, seconds))

    def wait(self) -> int:
        """Wait for the end of the job; return its exit code (see `wait_for_ranks`)."""
        if self.kind is not None:
            with contextlib.suppress(EOFError, OSError):  # the process has ended
                self.pipes[0].recv()
                return 0
        return wait_for_ranks(self.processes)

    def terminate(self) -> None:
        """Ask the job to stop. Its processes end with it."""
        self.kind = None
        for process in self.processes:
            process.terminate()

    def end(self) -> None:
        """End the processes, which have no job."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join()
        self.processes, self.pipes, self.runs = [], [], 0

    def _alive(self) -> bool:
        return bool(self.processes) and all(process.is_alive() for process in self.processes)


def kind_of(config: TrainConfig) -> str | None:
    """Return what the runs of one process have in common, or None for a run that has its own.

    Only runs share a process that train nothing but heads on activations, with nothing that users
    wrote: the others may be killed for lack of memory, or change the state of the process.
    """
    values = config.model_dump(by_alias=True, mode="json")
    heads = config.precompute.enabled and all(
        stage.freeze_to == -1 for stage in config.plan.stages.values()
    )
    loggers = {canonical(node.target) for node in config.logger.values()}
    prepare = config.data.prepare
    foreign = prepare is not None and not prepare.target.startswith("pets.")
    foreign |= refusal(inside(values)) is not None or not loggers <= _LOGGERS
    if foreign or not heads or config.report or ranks_of(config.trainer) > 1:
        return None
    return to_json(values["trainer"])  # some of it is set for the whole process


def _environments(job: Job, slot: Mapping[str, str]) -> list[Mapping[str, str]]:
    """Return the environment variables of each of a job's processes, one per device."""
    world = ranks_of(job.config.trainer)
    if world == 1:
        return [slot]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return [{**slot, **as_rank(rank, world, port)} for rank in range(world)]


def wait_for_ranks(ranks: Sequence[BaseProcess]) -> int:
    """Wait until all ranks of a job have ended; stop those that do not notice a failed one.

    Returns:
        The exit code of the rank that failed first; of several, that of a killed one (negative);
        0 if all succeeded. Exit codes of ranks stopped here do not count.
    """
    running = list(ranks)
    while running and not any(process.exitcode for process in ranks):
        connection.wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]
    exitcode = min((process.exitcode for process in ranks if process.exitcode), default=0)
    for end in (BaseProcess.terminate, BaseProcess.kill):
        for process in running:
            process.join(_PATIENCE)
            if process.is_alive():
                end(process)
    for process in ranks:
        process.join()
    return exitcode
