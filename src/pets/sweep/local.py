"""Jobs of a sweep on this machine, several at once."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, TypeVar

from pets.config import TrainConfig
from pets.distributed.ranks import as_rank, ranks_of
from pets.errors import ConfigError
from pets.io.serialize import to_json
from pets.sweep.finish import again, reached
from pets.sweep.jobs import Job
from pets.sweep.launching import SweepLauncher
from pets.sweep.worker import Place, check_config, device_count, run_job
from pets.system.cpu import available_cores
from pets.system.orphans import end_with_maker

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Seconds for a rank to end in order after another one has failed, and after it was asked to.
_PATIENCE = 30.0

# Parts of a config in which no signature is hidden.
_NUMBERS = ("plan", "seed", "lr_finder", "interpret")


class ProcessLauncher(SweepLauncher):
    """Every job a process of its own, forked from one that has imported torch already.

    `jobs` run at once: `auto` is as many as there are GPUs for; without GPUs one for every two
    cores, at least two. The cores are shared out among them.
    """

    def __init__(self, jobs: int | Literal["auto"]) -> None:
        if jobs != "auto" and (not isinstance(jobs, int) or jobs < 1):
            raise ConfigError(
                f"hydra.launcher.jobs={jobs}: expected a whole number of at least 1, or auto"
            )
        self.jobs = jobs
        self.context = multiprocessing.get_context("forkserver")
        self.running: set[BaseProcess] = set()
        self.stopping = False

    def get_ready(self) -> None:
        self.context.set_forkserver_preload(["pets.sweep.preload"])
        forkserver.ensure_running()

    def check(self, config: TrainConfig) -> None:
        nodes, devices = config.trainer.get("num_nodes"), config.trainer.get("devices")
        if nodes not in (None, 1):
            raise ConfigError(
                f"trainer.num_nodes={nodes}: these jobs run on this machine; hydra/launcher=slurm "
                "has others"
            )
        if isinstance(devices, list | tuple):
            raise ConfigError(
                f"trainer.devices={list(devices)}: a sweep hands out the devices; expected how "
                "many. CUDA_VISIBLE_DEVICES says which"
            )

    def check_all(self, configs: Sequence[TrainConfig]) -> None:
        """Signatures behind `_target_` and the trainer's arguments, of every different kind."""
        kinds = {}
        for config in configs:
            values = config.model_dump(by_alias=True, mode="json")
            if ranks_of(config.trainer) == 1:  # several need their ranks
                kinds[to_json({k: v for k, v in values.items() if k not in _NUMBERS})] = values
        if kinds:
            self._with_torch(check_config, [(values,) for values in kinds.values()])

    def run_jobs(self, jobs: Sequence[Job], folder: Path) -> None:
        """Run all, each in a place that is free; says what became of each."""
        places = self._places(jobs)
        log.info("%s at once; what a run says is in its train.log", len(places))
        free: queue.SimpleQueue[Place] = queue.SimpleQueue()
        for place in places:
            free.put(place)
        with ThreadPoolExecutor(len(places)) as pool, self._stopped_with(pool, folder):
            done = as_completed([pool.submit(self._run, job, free) for job in jobs])
            for count, future in enumerate(done, 1):
                _say(future.result(), f"{count}/{len(jobs)}")

    def _run(self, job: Job, free: queue.SimpleQueue[Place]) -> Job:
        place = free.get()
        try:
            processes = [self._process(job, rank) for rank in _ranks(job, place)]
            for process in processes:
                process.start()
                self.running.add(process)
                if self.stopping:
                    process.terminate()
            _wait_for(processes)
            self.running -= set(processes)
            # Where a rank is killed, the others end with another code than its signal.
            _note_death(job, min(process.exitcode or 0 for process in processes))
        finally:
            free.put(place)
        return job

    def _process(self, job: Job, place: Place) -> BaseProcess:
        arguments = (str(job.run.path), job.run.trusted, place, self.log_config(job))
        return self.context.Process(target=run_job, args=arguments, name=job.name)

    def _places(self, jobs: Sequence[Job]) -> list[Place]:
        devices = max(ranks_of(job.config.trainer) for job in jobs)
        return places(len(jobs), devices, self.jobs, available_cores(), self._gpus(jobs))

    def _gpus(self, jobs: Sequence[Job]) -> list[str]:
        """The GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them."""
        if all(job.config.trainer.get("accelerator") == "cpu" for job in jobs):
            return []
        (count,) = self._with_torch(device_count, [()])
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return visible.split(",")[:count] if visible else [str(i) for i in range(count)]

    def _with_torch(
        self, ask: Callable[..., Answer], questions: Sequence[tuple[Any, ...]]
    ) -> list[Answer]:
        """What a function answers in a process that has torch: this one never imports it."""
        with ProcessPoolExecutor(1, self.context, end_with_maker) as pool:
            return [future.result() for future in [pool.submit(ask, *q) for q in questions]]

    @contextlib.contextmanager
    def _stopped_with(self, pool: ThreadPoolExecutor, folder: Path) -> Iterator[None]:
        """Stopped from outside: running jobs write their checkpoints, the others stay waiting."""
        try:
            yield
        except BaseException:
            self.stopping = True
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(self.running):
                process.terminate()
            log.warning("stopped; go on with %s", again(self.config, folder))
            raise


def places(
    jobs: int, devices: int, wanted: int | Literal["auto"], cores: int, gpus: Sequence[str]
) -> list[Place]:
    """As many places as `jobs` of so many `devices` may run at once; where there are GPUs, each
    place has its own, as long as they suffice.

    Raises ConfigError where a job needs more GPUs than there are.
    """
    if gpus and len(gpus) < devices:
        raise ConfigError(f"trainer.devices={devices}: this machine has {len(gpus)} GPUs")
    shares = [",".join(gpus[i : i + devices]) for i in range(0, len(gpus) - devices + 1, devices)]
    own_cores = max(1, cores // devices)
    count = len(shares) if gpus else min(own_cores, max(2, own_cores // 2))
    count = min(jobs, count if wanted == "auto" else wanted)
    return [
        Place(count, {"CUDA_VISIBLE_DEVICES": shares[i % len(shares)]} if gpus else {})
        for i in range(count)
    ]


def _ranks(job: Job, place: Place) -> list[Place]:
    """The place of each of a job's processes: one a device."""
    world = ranks_of(job.config.trainer)
    if world == 1:
        return [place]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        replace(place, environment={**place.environment, **as_rank(rank, world, port)})
        for rank in range(world)
    ]


def _wait_for(ranks: Sequence[BaseProcess]) -> None:
    """Until all ranks of a job have ended. Where one fails, the others notice; one that does not is
    stopped, as torchrun does it."""
    running = list(ranks)
    while running and not any(process.exitcode for process in ranks):
        connection.wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]
    for end in (BaseProcess.terminate, BaseProcess.kill):
        for process in running:
            process.join(_PATIENCE)
            if process.is_alive():
                end(process)
    for process in ranks:
        process.join()


def _note_death(job: Job, exitcode: int) -> None:
    """A process that was killed could not write its status itself."""
    if job.run.status.get("state") not in ("waiting", "running"):
        return
    if exitcode in (-signal.SIGTERM, -signal.SIGINT):
        job.run.update_status(state="interrupted", error="stopped from outside")
        return
    how = f"was killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"exit {exitcode}"
    screen = job.run.path / "screen.log"
    job.run.update_status(state="failed", error=f"its process ended ({how}); see {screen}")


def _say(job: Job, count: str) -> None:
    level = logging.INFO if job.run.finished else logging.WARNING
    log.log(level, "%s  %s: %s", count, job.name, reached(job.run))
