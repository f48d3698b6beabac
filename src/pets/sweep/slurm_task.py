"""What runs in a task of a Slurm job: one rank of a run; rank 0 requeues a job that was stopped."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

from pets.distributed.ranks import ranks
from pets.run_dir import RunDir
from pets.sweep.worker import log_as_rank, train_in
from pets.system.signals import Stopped, stoppable

log = logging.getLogger(__name__)


def run_task(folder: str, trusted: bool, log_config: Mapping[str, Any]) -> None:
    """Train in a prepared or stopped run directory, on this task's device.

    Returns where the run is finished, or will go on in the requeued job.

    Raises:
        SystemExit: with the exit code that `pets train` would have.
    """
    # First of all, since it replaces submitit's signal handlers.
    with stoppable():
        logging.getLogger("submitit").propagate = False
        log_as_rank(log_config)
        # Before torch is imported: the cores that Slurm gives this task.
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        run = RunDir.open(folder, trusted)
        before = _newest_checkpoint(run)
        try:
            train_in(run)
        except Stopped as stopped:
            progress = _newest_checkpoint(run) != before
            if not (ranks().writer and _requeue(run, stopped.signal, progress)):
                raise


def _requeue(run: RunDir, number: signal.Signals, progress: bool) -> bool:
    """Requeue this job in Slurm if that is for the job to do; returns whether it was requeued.

    A job that is still running has been warned: of its limit by SIGUSR2, of preemption by SIGTERM.
    Otherwise Slurm has decided: a cancelled job ends, a preempted one is in the queue already.
    """
    job = _job_id()
    details = _job_details(job)
    warned = number != signal.SIGTERM or details.get("PreemptTime", "None") != "None"
    if number == signal.SIGINT or details.get("JobState") != "RUNNING" or not warned:
        return False
    if details.get("Requeue") != "1":
        log.warning("Slurm job %s is not to be queued again", job)
        return False
    if not progress and number != signal.SIGTERM:
        # It would be requeued for ever.
        error = (
            f"Slurm job {job}: its time was up before its first checkpoint; expected a longer "
            "hydra.launcher.time"
        )
        run.update_status(state="failed", error=error)
        log.error(error)
        return False
    log.info("Slurm job %s goes into the queue again", job)
    command = ["scontrol", "requeue", job]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        log.error("scontrol requeue %s: %s", job, result.stderr.strip())
    return result.returncode == 0


def _job_details(job: str) -> dict[str, str]:
    """The fields of `scontrol show job`; empty where Slurm does not answer."""
    command = ["scontrol", "show", "job", "--oneliner", job]
    output = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    return dict(re.findall(r"(\w+)=(\S*)", output))


def _job_id() -> str:
    """The unambiguous id of this job: SLURM_JOB_ID may be that of the whole array."""
    env = os.environ
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env["SLURM_JOB_ID"]


def _newest_checkpoint(run: RunDir) -> int:
    """The modification time of the last checkpoint, in ns; 0 where there is none."""
    last = run.checkpoint()
    return last.stat().st_mtime_ns if last.exists() else 0
