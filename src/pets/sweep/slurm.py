"""The launcher for Slurm: the resources of a job, and how it is submitted.

submitit writes the sbatch scripts and starts one task per rank. Its own checkpointing is not used:
it ignores SIGTERM, and requeues from a signal handler in the middle of a step. `slurm_task` does
both properly.
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
    """Hydra launcher that submits each job as a Slurm job, whose tasks are the ranks of the run.

    Args:
        settings: The keys of `conf/hydra/launcher/slurm.yaml`.

    Raises:
        ConfigError: A setting has an invalid value.
    """

    def __init__(self, **settings: Any) -> None:
        try:
            plain = OmegaConf.to_container(OmegaConf.create(settings))
            self.settings = typed_values(SlurmSettings, plain)
        except ConfigError as error:
            lines = (f"hydra.launcher.{line}" for line in str(error).splitlines())
            raise ConfigError("\n".join(lines)) from error

    def start(self) -> None:
        """Query the Slurm queue. Raises PetsError if Slurm or submitit is missing."""
        missing = [name for name in ("sbatch", "srun", "squeue") if shutil.which(name) is None]
        if missing:
            raise PetsError(
                f"hydra/launcher=slurm: there is no {missing[0]} here; use a machine that can "
                "submit Slurm jobs, or use hydra/launcher=local"
            )
        _executor()
        alive = alive_jobs()
        if alive is None:
            raise PetsError("hydra/launcher=slurm: squeue does not respond")
        self.alive = alive

    def check(self, configs: Sequence[TrainConfig]) -> None:
        if self.prune is not None:
            raise ConfigError(
                "hydra/sweeper/pruner: jobs in Slurm are not watched, so none would be pruned; "
                "expected hydra/sweeper/pruner=none, or hydra/launcher=local"
            )
        for config in configs:
            allocation(self.settings, config.trainer)

    def runs_elsewhere(self, job: Job) -> bool:
        """Whether another process trains the job. Jobs in Slurm are this launcher's own."""
        return job.run.held() and job_id(job.run) not in self.alive

    def run_jobs(self, jobs: Sequence[Job], folder: Path) -> None:
        """Submit the jobs that are not in Slurm, one array per allocation; wait for all jobs."""
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
                log.info("%s already in Slurm", len(jobs) - len(new))
            watch(jobs)
        except (KeyboardInterrupt, Stopped):
            numbers = {(job_id(job.run) or "").partition("_")[0] for job in jobs} - {""}
            log.warning("the jobs continue in Slurm")
            log.warning("  show their results:     pets summarize %s", folder)
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
            # The exception includes what sbatch writes there.
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
    """Return a job's nodes, and the tasks and GPUs per node: one task per device.

    Raises:
        ConfigError: The `trainer` config does not specify the devices.
    """
    counts = {name: trainer.get(name, 1) for name in ("num_nodes", "devices")}
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ConfigError(
                f"trainer.{name}={count}: Slurm chooses the devices; expected a number of them"
            )
    allocated = {"nodes": counts["num_nodes"], "ntasks_per_node": counts["devices"]}
    accelerator = trainer.get("accelerator", "auto")
    if settings.gpus_per_node is None or accelerator == "cpu":
        return allocated
    if accelerator not in ("gpu", "cuda"):
        raise ConfigError(
            f"trainer.accelerator={accelerator}: Slurm has to know whether a job needs GPUs; "
            "expected gpu or cpu"
        )
    return allocated | {"gpus_per_node": counts["devices"]}


def sbatch_parameters(
    settings: SlurmSettings, allocated: Mapping[str, int], name: str
) -> dict[str, Any]:
    """Return the settings as parameters of submitit's executor."""
    same = {"partition", "account", "qos", "cpus_per_task", "mem", "mem_per_cpu", "time", "setup"}
    return {
        **settings.model_dump(include=same, exclude_none=True),
        **allocated,
        "job_name": name,
        "signal_delay_s": settings.signal_lead,
        "array_parallelism": settings.jobs,
        "stderr_to_stdout": True,
        # A failed rank ends the job. Since Slurm 22.05 srun does not inherit cpus-per-task from
        # sbatch.
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
