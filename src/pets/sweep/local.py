"""The launcher for this machine: several jobs in parallel, each in its own process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Literal, TypeVar

from pets.config import TrainConfig
from pets.distributed.ranks import ranks_of
from pets.errors import ConfigError
from pets.io.serialize import to_json
from pets.sweep.jobs import Job, log_outcome
from pets.sweep.launcher import SweepLauncher, resume_command
from pets.sweep.processes import Slot
from pets.sweep.worker import PRELOAD, check_config, device_count
from pets.system.cpu import available_cores
from pets.system.orphans import end_with_maker
from pets.training.metrics_csv import read_metrics

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Seconds between two looks at the epochs of a job that may be pruned.
_SECONDS_BETWEEN = 0.5

# Sections of a config without `_target_`, so without arguments to check.
_WITHOUT_TARGETS = ("plan", "seed", "lr_finder", "interpret")


class LocalLauncher(SweepLauncher):
    """Hydra launcher that forks a process for each job from one that has imported torch.

    Runs that only train heads on activations share the process of their slot, one after another.

    Args:
        jobs: How many run in parallel. `auto`: one per GPU (per `trainer.devices` GPUs), or without
            GPUs one per two cores, at least two. They share the cores.
    """

    def __init__(self, jobs: int | Literal["auto"]) -> None:
        if jobs != "auto" and (not isinstance(jobs, int) or jobs < 1):
            raise ConfigError(
                f"hydra.launcher.jobs={jobs}: expected a whole number of at least 1, or auto"
            )
        self.jobs = jobs
        self.context = multiprocessing.get_context("forkserver")
        self.slots: list[Slot] = []
        self.stopping = False

    def start(self) -> None:
        report = ["pets.report.write"] if self.config.report else []
        self.context.set_forkserver_preload([*PRELOAD, *report])
        forkserver.ensure_running()

    def check(self, configs: Sequence[TrainConfig]) -> None:
        """Also check the arguments of trainer and every `_target_`, once per distinct config."""
        kinds = {}
        for config in configs:
            nodes, devices = config.trainer.get("num_nodes"), config.trainer.get("devices")
            if nodes not in (None, 1):
                raise ConfigError(
                    f"trainer.num_nodes={nodes}: these jobs run on this machine; "
                    "use hydra/launcher=slurm for several machines"
                )
            if isinstance(devices, list | tuple):
                raise ConfigError(
                    f"trainer.devices={list(devices)}: the sweep assigns devices to jobs; give a "
                    "number of devices, and restrict them with CUDA_VISIBLE_DEVICES"
                )
            if ranks_of(config.trainer) == 1:  # more than one needs its ranks
                values = config.model_dump(by_alias=True, mode="json")
                named = {key: values[key] for key in values if key not in _WITHOUT_TARGETS}
                kinds[to_json(named)] = (values,)
        self._with_torch(check_config, list(kinds.values()))

    def run_jobs(self, jobs: Sequence[Job], folder: Path) -> None:
        """Train each job as soon as a slot is free, and log its outcome."""
        devices = max(ranks_of(job.config.trainer) for job in jobs)
        shares = divide(len(jobs), devices, self.jobs, available_cores(), self._gpus(jobs))
        log.info("%s in parallel; each run logs to its train.log", len(shares))
        self.slots = [Slot(self.context, len(shares), share) for share in shares]
        free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in self.slots:
            free.put(slot)
        with ThreadPoolExecutor(len(shares)) as pool:
            try:
                done = as_completed(pool.submit(self._run, job, free) for job in jobs)
                for count, future in enumerate(done, 1):
                    log_outcome(future.result(), count, len(jobs))
            except BaseException:
                # Running jobs save a checkpoint; the others remain waiting.
                self.stopping = True
                pool.shutdown(wait=False, cancel_futures=True)
                for slot in self.slots:
                    slot.terminate()
                log.warning("stopped; resume with %s", resume_command(self.config, folder))
                raise
        for slot in self.slots:
            slot.end()

    def _run(self, job: Job, free: queue.SimpleQueue[Slot]) -> Job:
        slot = free.get()
        try:
            slot.train(job, self.log_config(job))
            if self.stopping:
                slot.terminate()
            pruned = self._watch(job, slot)
            _note_end(job, slot.wait())
            if pruned and job.run.status.get("state") == "interrupted":
                job.run.update_status(state="pruned", error=None)
        finally:
            free.put(slot)
        return job

    def _watch(self, job: Job, slot: Slot) -> bool:
        """Stop a job as soon as its epochs say that it is hopeless; return whether it was stopped.

        It saves a checkpoint first, as after any signal. Returns when a process of it has ended.
        """
        epochs, seen = sum(stage.epochs for stage in job.config.plan.stages.values()), 0
        while self.prune is not None and not slot.over(_SECONDS_BETWEEN):
            column = job.run.monitor.column
            scores = [row[column] for row in read_metrics(job.run.path / "metrics.csv")]
            # After the last epoch only the results are missing.
            if seen < len(scores) < epochs:
                seen = len(scores)
                if self.prune(self.index[job.run.path], scores, epochs):
                    slot.terminate()
                    return True
        return False

    def _gpus(self, jobs: Sequence[Job]) -> list[str]:
        """The GPUs for the jobs, as named in CUDA_VISIBLE_DEVICES."""
        if all(job.config.trainer.get("accelerator") == "cpu" for job in jobs):
            return []
        (count,) = self._with_torch(device_count, [()])
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return visible.split(",")[:count] if visible else [str(i) for i in range(count)]

    def _with_torch(
        self, function: Callable[..., Result], calls: Sequence[tuple[Any, ...]]
    ) -> list[Result]:
        """Call a function in a separate process, so that this one never imports torch."""
        with ProcessPoolExecutor(1, self.context, end_with_maker) as pool:
            futures = [pool.submit(function, *arguments) for arguments in calls]
            return [future.result() for future in futures]


def divide(
    jobs: int, devices: int, wanted: int | Literal["auto"], cores: int, gpus: Sequence[str]
) -> list[dict[str, str]]:
    """Divide a machine into slots; each runs one job on `devices` devices at a time.

    Returns the environment variables of each slot, which with GPUs include its own GPUs; surplus
    slots share them. Raises ConfigError if a job needs more GPUs than there are.
    """
    if gpus and len(gpus) < devices:
        raise ConfigError(f"trainer.devices={devices}: this machine has {len(gpus)} GPUs")
    shares = [",".join(gpus[i : i + devices]) for i in range(0, len(gpus) - devices + 1, devices)]
    own_cores = max(1, cores // devices)
    count = len(shares) if gpus else min(own_cores, max(2, own_cores // 2))
    count = min(jobs, count if wanted == "auto" else wanted)
    return [{"CUDA_VISIBLE_DEVICES": shares[i % len(shares)]} if gpus else {} for i in range(count)]


def _note_end(job: Job, exitcode: int) -> None:
    """Write the status of a run whose process could not write it, because it was killed."""
    if job.run.status.get("state") not in ("waiting", "running"):
        return
    if exitcode in (-signal.SIGTERM, -signal.SIGINT):
        job.run.update_status(state="interrupted", error="stopped from outside")
        return
    how = f"was killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"exit {exitcode}"
    screen = job.run.path / "screen.log"
    job.run.update_status(state="failed", error=f"its process ended ({how}); see {screen}")
