"""Jobs of a sweep in Slurm."""

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

from pets.config import TrainConfig
from pets.config.base import Strict
from pets.config.slurm import SlurmSettings
from pets.config.validation import typed_values
from pets.errors import PetsError
from pets.sweep.finish import again
from pets.sweep.jobs import Job
from pets.sweep.launching import SweepLauncher
from pets.sweep.slurm_queue import job_of, note_job, squeue
from pets.sweep.slurm_resources import Machines, machines, sbatch_parameters
from pets.sweep.slurm_task import run_task
from pets.sweep.slurm_watch import left_to_slurm, watch
from pets.system.installation import install
from pets.system.signals import deferred

if TYPE_CHECKING:
    from submitit import SlurmExecutor

log = logging.getLogger(__name__)


class _Hydra(Strict):
    launcher: SlurmSettings


class _Config(Strict):
    """The settings under their full names, for what is said of a wrong one."""

    hydra: _Hydra


class SlurmJobsLauncher(SweepLauncher):
    """Every job a Slurm job; its tasks are the ranks of the run.

    The settings are those of `conf/hydra/launcher/slurm.yaml`. Raises ConfigError.
    """

    def __init__(self, **settings: Any) -> None:
        values = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in settings.items()
        }
        config = typed_values(_Config, {"hydra": {"launcher": values}})
        self.settings = config.hydra.launcher

    def get_ready(self) -> None:
        """Ask Slurm what it has. Raises PetsError where it or submitit is missing."""
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
        machines(self.settings, config.trainer)

    def runs_elsewhere(self, job: Job) -> bool:
        """Those in Slurm are this launcher's own, whichever process submitted them."""
        return job.run.held() and job_of(job.run) not in self.alive

    def run_jobs(self, jobs: Sequence[Job], folder: Path) -> None:
        """Submit what is not in Slurm yet, an array for all that need the same; wait for all."""
        new = [job for job in jobs if job_of(job.run) not in self.alive]
        arrays: dict[Machines, list[Job]] = {}
        for job in new:
            arrays.setdefault(machines(self.settings, job.config.trainer), []).append(job)
        with left_to_slurm(jobs, folder, again(self.config, folder)):
            for needed, some in arrays.items():
                with deferred():  # what is submitted must be noted
                    self._submit(needed, some, folder)
            if len(new) < len(jobs):
                log.info("%s in Slurm already", len(jobs) - len(new))
            watch(jobs)

    def _submit(self, needed: Machines, jobs: Sequence[Job], folder: Path) -> None:
        logs = folder / "slurm"
        executor = _executor()(logs)
        executor.update_parameters(**sbatch_parameters(self.settings, needed, folder.name))
        for job in jobs:
            job.run.update_status(state="waiting", error=None)
        try:
            # What sbatch complains about is in the error, too.
            said = contextlib.redirect_stderr(io.StringIO())
            with said, _outside_of_any_job(), executor.batch():
                given = [
                    executor.submit(
                        run_task, str(job.run.path.resolve()), job.run.trusted, self.log_config(job)
                    )
                    for job in jobs
                ]
        except RuntimeError as error:  # submitit's, with all that sbatch said
            raise PetsError(f"hydra/launcher=slurm: {_reason(error)}") from error
        for job, its in zip(jobs, given, strict=True):
            note_job(job.run, its.job_id, logs / f"{its.job_id}_*_log.out")
        number = given[0].job_id.partition("_")[0]
        log.info("%s in Slurm as job %s; logs in %s", len(jobs), number, logs)


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
    """Without what a Slurm job around the launching process has in its environment: sbatch would
    pass that on."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    kept: Mapping[str, str] = dict(os.environ)
    passed_on = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "MASTER_")
    for name in kept:
        if name.startswith(passed_on) and name != "SLURM_CONF":
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)


def _reason(error: Exception) -> str:
    """sbatch's own last line of what it complains about."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith("sbatch: error:")]
    return [*lines, *complaints][-1]
