"""The code of a task of a Slurm job: one rank of a run; rank 0 requeues a stopped job."""

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

    Returns if the run is finished, or will be resumed by the requeued job.

    Raises:
        SystemExit: With the exit code that `pets train` would have.
    """
    # First, since it replaces submitit's signal handlers.
    with stoppable():
        logging.getLogger("submitit").propagate = False
        log_as_rank(log_config)
        # Before torch is imported: the cores that Slurm gives this task.
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        run = RunDir.open(folder, trusted)
        before = _last_checkpoint(run)
        try:
            train_in(run)
        except Stopped as stopped:
            progress = _last_checkpoint(run) != before
            if not (ranks().writer and _requeue(run, stopped.signal, progress)):
                raise


def _requeue(run: RunDir, number: signal.Signals, progress: bool) -> bool:
    """Requeue this Slurm job unless Slurm itself has already cancelled or requeued it.

    A job that is still running was warned: of its time limit by SIGUSR2, of preemption by SIGTERM.
    Returns whether it was requeued.
    """
    from submitit import JobEnvironment

    job = JobEnvironment().job_id  # SLURM_JOB_ID may be that of the whole array
    command = ["scontrol", "show", "job", "--oneliner", job]
    output = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    details: dict[str, str] = dict(re.findall(r"(\w+)=(\S*)", output))
    preempted = details.get("PreemptTime", "None") != "None"
    warned = preempted or number not in (signal.SIGINT, signal.SIGTERM)
    if details.get("JobState") != "RUNNING" or not warned:
        return False
    if not progress and not preempted:  # it would be requeued for ever
        error = (
            f"Slurm job {job}: reached its time limit before the first checkpoint; increase "
            "hydra.launcher.time"
        )
        run.update_status(state="failed", error=error)
        log.error(error)
        return False
    log.info("Slurm job %s is requeued", job)
    ended = subprocess.run(
        ["scontrol", "requeue", job], check=False, capture_output=True, text=True
    )
    if ended.returncode != 0:  # such as a job with requeue=false
        log.error("Slurm job %s could not be requeued: %s", job, ended.stderr.strip())
    return ended.returncode == 0


def _last_checkpoint(run: RunDir) -> int:
    """Return the time of the last checkpoint in ns; 0 if there is none."""
    last = run.checkpoint()
    return last.stat().st_mtime_ns if last.exists() else 0
