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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from pets.config import SlurmSettings, TrainConfig
from pets.config.validation import typed_values
from pets.errors import ConfigError, PetsError
from pets.io.serialize import to_json
from pets.sweep.jobs import Job
from pets.sweep.launcher import SweepLauncher, resume_command
from pets.sweep.slurm_queue import alive_jobs, job_id, save_job, watch
from pets.sweep.slurm_task import run_task
from pets.system.installation import install
from pets.system.signals import Stopped, deferred

if TYPE_CHECKING:
    from submitit import SlurmExecutor

log = logging.getLogger(__name__)


class SlurmLauncher(SweepLauncher):
    """Hydra launcher that makes every job a Slurm job, whose tasks are the ranks of the run.

    Args:
        settings: The keys of `conf/hydra/launcher/slurm.yaml`.

    Raises:
        ConfigError: a setting has a wrong value.
    """

    def __init__(self, **settings: Any) -> None:
        try:
            plain = OmegaConf.to_container(OmegaConf.create(settings))
            self.settings = typed_values(SlurmSettings, plain)
        except ConfigError as error:
            lines = (f"hydra.launcher.{line}" for line in str(error).splitlines())
            raise ConfigError("\n".join(lines)) from error

    def start(self) -> None:
        """Ask Slurm for its jobs. Raises PetsError where it or submitit is missing."""
        missing = [name for name in ("sbatch", "srun", "squeue") if shutil.which(name) is None]
        if missing:
            raise PetsError(
                f"hydra/launcher=slurm: there is no {missing[0]} here; expected a machine from "
                "which Slurm jobs are submitted, or hydra/launcher=local"
            )
        _executor()
        alive = alive_jobs()
        if alive is None:
            raise PetsError("hydra/launcher=slurm: squeue gives no answer; expected one of Slurm")
        self.alive = alive

    def check(self, configs: Sequence[TrainConfig]) -> None:
        for config in configs:
            allocation(self.settings, config.trainer)

    def runs_elsewhere(self, job: Job) -> bool:
        """A job in Slurm is this launcher's own, whichever process submitted it."""
        return job.run.held() and job_id(job.run) not in self.alive

    def run_jobs(self, jobs: Sequence[Job], folder: Path) -> None:
        """Submit the jobs that are not in Slurm, an array for equal allocations; wait for all."""
        new = [job for job in jobs if job_id(job.run) not in self.alive]
        arrays: dict[str, list[Job]] = {}
        for job in new:
            kind = to_json(allocation(self.settings, job.config.trainer))
            arrays.setdefault(kind, []).append(job)
        try:
            for equal in arrays.values():
                with deferred():  # the ids of submitted jobs must be saved
                    self._submit(equal, folder)
            if len(new) < len(jobs):
                log.info("%s in Slurm already", len(jobs) - len(new))
            watch(jobs)
        except (KeyboardInterrupt, Stopped):
            numbers = {(job_id(job.run) or "").partition("_")[0] for job in jobs} - {""}
            log.warning("the jobs go on in Slurm")
            log.warning("  what they have reached: pets summarize %s", folder)
            log.warning("  wait for them again:    %s", resume_command(self.config, folder))
            log.warning("  cancel them:            scancel %s", " ".join(sorted(numbers)))
            raise

    def _submit(self, jobs: Sequence[Job], folder: Path) -> None:
        logs = folder / "slurm"
        executor = _executor()(logs)
        allocated = allocation(self.settings, jobs[0].config.trainer)
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
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("sbatch: error:")]
            raise PetsError(f"hydra/launcher=slurm: {[*lines, *errors][-1]}") from error
        for job, new in zip(jobs, submitted, strict=True):
            save_job(job.run, new.job_id, logs / f"{new.job_id}_*_log.out")
        number = submitted[0].job_id.partition("_")[0]
        log.info("%s in Slurm as job %s; logs in %s", len(jobs), number, logs)


def allocation(settings: SlurmSettings, trainer: Mapping[str, Any]) -> dict[str, int]:
    """The nodes of a job, and the tasks and GPUs on each of them: a task a device.

    Raises:
        ConfigError: the `trainer` config leaves a number open.
    """
    counts = {name: trainer.get(name, 1) for name in ("num_nodes", "devices")}
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ConfigError(
                f"trainer.{name}={count}: Slurm is asked for a number and chooses which; expected "
                "how many"
            )
    allocated = {"nodes": counts["num_nodes"], "ntasks_per_node": counts["devices"]}
    accelerator = trainer.get("accelerator", "auto")
    if settings.gpus_per_node is None or accelerator == "cpu":
        return allocated
    if accelerator not in ("gpu", "cuda"):
        raise ConfigError(
            f"trainer.accelerator={accelerator}: Slurm must be told whether a job needs GPUs; "
            "expected gpu or cpu"
        )
    return allocated | {"gpus_per_node": counts["devices"]}


def sbatch_parameters(
    settings: SlurmSettings, allocated: Mapping[str, int], name: str
) -> dict[str, Any]:
    """The settings as submitit's executor takes them."""
    same = {"partition", "account", "qos", "cpus_per_task", "mem", "mem_per_cpu", "time", "setup"}
    return {
        **settings.model_dump(include=same, exclude_none=True),
        **allocated,
        "job_name": name,
        "signal_delay_s": settings.signal_lead,
        "array_parallelism": settings.jobs,
        "stderr_to_stdout": True,
        # When a rank ends, the others notice and report why; Slurm would kill them before. Since
        # Slurm 22.05 srun does not inherit cpus-per-task from sbatch.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={settings.cpus_per_task}"],
        "additional_parameters": {
            "requeue" if settings.requeue else "no-requeue": True,
            **settings.sbatch,
        },
    }


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
    """Hide the variables of a Slurm job around this process: sbatch would pass them on."""
    from submitit.helpers import clean_env

    where = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    with clean_env():
        os.environ.update(where)
        yield
