"""The launcher for Slurm: what a job is given, and how it is submitted.

submitit writes the sbatch scripts and starts a task a rank. Its own checkpointing is not used: it
ignores SIGTERM, and requeues from a signal handler in the middle of a step. `slurm_task` has both.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from pets.config import SlurmSettings, Strict, TrainConfig
from pets.config.validation import typed_values
from pets.errors import ConfigError, PetsError
from pets.sweep.jobs import Job
from pets.sweep.launcher import SweepLauncher, resume_command
from pets.sweep.slurm_queue import job_id, jobs_left_in_slurm, save_job, squeue, watch
from pets.sweep.slurm_task import run_task
from pets.system.installation import install
from pets.system.signals import deferred

if TYPE_CHECKING:
    from submitit import SlurmExecutor

log = logging.getLogger(__name__)


class _Hydra(Strict):
    launcher: SlurmSettings


class _Config(Strict):
    """The settings below their full names, for error messages."""

    hydra: _Hydra


class SlurmLauncher(SweepLauncher):
    """Hydra launcher that makes every job a Slurm job, whose tasks are the ranks of the run.

    Args:
        settings: The keys of `conf/hydra/launcher/slurm.yaml`.

    Raises:
        ConfigError: a setting has a wrong value.
    """

    def __init__(self, **settings: Any) -> None:
        values = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in settings.items()
        }
        config = typed_values(_Config, {"hydra": {"launcher": values}})
        self.settings = config.hydra.launcher

    def start(self) -> None:
        """Ask Slurm for its jobs. Raises PetsError where it or submitit is missing."""
        missing = [name for name in ("sbatch", "srun", "squeue") if shutil.which(name) is None]
        if missing:
            raise PetsError(
                f"hydra/launcher=slurm: there is no {missing[0]} here; expected a machine from "
                "which Slurm jobs are submitted, or hydra/launcher=local"
            )
        _executor()
        queue = squeue()
        if queue is None:
            raise PetsError("hydra/launcher=slurm: squeue gives no answer; expected one of Slurm")
        self.alive = {job for job, phase in queue.items() if not phase.ended}

    def check(self, config: TrainConfig) -> None:
        allocation(self.settings, config.trainer)

    def runs_elsewhere(self, job: Job) -> bool:
        """A job in Slurm is this launcher's own, whichever process submitted it."""
        return job.run.held() and job_id(job.run) not in self.alive

    def run_jobs(self, jobs: Sequence[Job], folder: Path) -> None:
        """Submit the jobs that are not in Slurm, an array for equal allocations; wait for all."""
        new = [job for job in jobs if job_id(job.run) not in self.alive]
        arrays: dict[Allocation, list[Job]] = {}
        for job in new:
            arrays.setdefault(allocation(self.settings, job.config.trainer), []).append(job)
        with jobs_left_in_slurm(jobs, folder, resume_command(self.config, folder)):
            for allocated, equal in arrays.items():
                with deferred():  # the ids of submitted jobs must be saved
                    self._submit(allocated, equal, folder)
            if len(new) < len(jobs):
                log.info("%s in Slurm already", len(jobs) - len(new))
            watch(jobs)

    def _submit(self, allocated: Allocation, jobs: Sequence[Job], folder: Path) -> None:
        logs = folder / "slurm"
        executor = _executor()(logs)
        executor.update_parameters(**sbatch_parameters(self.settings, allocated, folder.name))
        for job in jobs:
            job.run.update_status(state="waiting", error=None)
        try:
            # What sbatch writes there is in the exception, too.
            quiet = contextlib.redirect_stderr(io.StringIO())
            with quiet, _outside_of_any_job(), executor.batch():
                submitted = [
                    executor.submit(
                        run_task, str(job.run.path.resolve()), job.run.trusted, self.log_config(job)
                    )
                    for job in jobs
                ]
        except RuntimeError as error:  # submitit's, with the output of sbatch
            raise PetsError(f"hydra/launcher=slurm: {_reason(error)}") from error
        for job, new in zip(jobs, submitted, strict=True):
            save_job(job.run, new.job_id, logs / f"{new.job_id}_*_log.out")
        number = submitted[0].job_id.partition("_")[0]
        log.info("%s in Slurm as job %s; logs in %s", len(jobs), number, logs)


@dataclass(frozen=True)
class Allocation:
    """What one job gets: nodes, and on each of them tasks and GPUs."""

    nodes: int
    tasks: int
    gpus: int | None


def allocation(settings: SlurmSettings, trainer: Mapping[str, Any]) -> Allocation:
    """The allocation for a job's `trainer` config: a task a device.

    Raises:
        ConfigError: the settings contradict it, or it leaves a number open.
    """
    tasks, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    accelerator = trainer.get("accelerator", "auto")
    for key, asked, name, used in (
        ("tasks_per_node", settings.tasks_per_node, "devices", tasks),
        ("nodes", settings.nodes, "num_nodes", nodes),
    ):
        if not isinstance(used, int) or used < 1:
            raise ConfigError(
                f"trainer.{name}={used}: Slurm is asked for a number and chooses which; expected "
                "how many"
            )
        if asked not in ("auto", used):
            raise ConfigError(
                f"hydra.launcher.{key}={asked}: a job has trainer.{name}={used}; expected "
                "the same, or auto"
            )
    gpus = settings.gpus_per_node
    if gpus == "auto":
        if accelerator not in ("gpu", "cuda", "cpu"):
            raise ConfigError(
                f"trainer.accelerator={accelerator}: Slurm must be told whether a job needs GPUs; "
                "expected gpu or cpu, or hydra.launcher.gpus_per_node=..."
            )
        gpus = None if accelerator == "cpu" else tasks
    elif gpus is not None and accelerator != "cpu" and gpus != tasks:
        raise ConfigError(
            f"hydra.launcher.gpus_per_node={gpus}: a job has trainer.devices={tasks}; "
            "expected the same, a GPU a device"
        )
    return Allocation(nodes, tasks, gpus)


def sbatch_parameters(settings: SlurmSettings, job: Allocation, name: str) -> dict[str, Any]:
    """The settings as submitit's executor takes them."""
    parameters = {
        "job_name": name,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "nodes": job.nodes,
        "ntasks_per_node": job.tasks,
        "gpus_per_node": job.gpus,
        "cpus_per_task": settings.cpus_per_task,
        "mem": settings.mem,
        "mem_per_cpu": settings.mem_per_cpu,
        "time": settings.time,
        "signal_delay_s": settings.signal_lead,
        "array_parallelism": settings.jobs,
        "setup": settings.setup,
        "stderr_to_stdout": True,
        # When a rank ends, the others notice and report why; Slurm would kill them before. Since
        # Slurm 22.05 srun does not inherit cpus-per-task from sbatch.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={settings.cpus_per_task}"],
        "additional_parameters": {
            "requeue" if settings.requeue else "no-requeue": True,
            **settings.sbatch,
        },
    }
    return {key: value for key, value in parameters.items() if value is not None}


def _executor() -> type[SlurmExecutor]:
    try:
        from submitit import SlurmExecutor
    except ImportError as error:
        raise PetsError(
            f"hydra/launcher=slurm: needs the package submitit; {install('slurm')}"
        ) from error
    return SlurmExecutor


@contextlib.contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Remove the variables of a Slurm job around this process: sbatch would pass them on."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    kept: Mapping[str, str] = dict(os.environ)
    inherited = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "MASTER_")
    for name in kept:
        if name.startswith(inherited) and name != "SLURM_CONF":
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)


def _reason(error: Exception) -> str:
    """The last error of sbatch, else the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("sbatch: error:")]
    return [*lines, *errors][-1]
