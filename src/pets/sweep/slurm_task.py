"""What a task of a Slurm job does: it is one rank of a run, and rank 0 of a stopped run queues the
job again."""

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

    Raises SystemExit as `pets train` would; returns where the run is finished or goes on later.
    """
    # From the first moment, and in the place of submitit's handlers.
    with stoppable():
        logging.getLogger("submitit").propagate = False
        log_as_rank(log_config)
        # Before torch is imported: the cores that Slurm has given to this task.
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        run = RunDir.open(folder, trusted)
        before = _newest_checkpoint(run)
        try:
            train_in(run)
        except Stopped as stopped:
            progress = _newest_checkpoint(run) != before
            if not (ranks().writer and _queued_again(run, stopped.signal, progress)):
                raise


def _queued_again(run: RunDir, number: signal.Signals, progress: bool) -> bool:
    """Have Slurm put the job into its queue once more, where that is for the job to ask.

    A job that Slurm calls running has been warned: of its limit by SIGUSR2, of preemption by
    SIGTERM. Else Slurm has decided already: a cancelled job is to end, a preempted one is in the
    queue.
    """
    job = _job()
    says = _slurm_says(job)
    warned = number != signal.SIGTERM or says.get("PreemptTime", "None") != "None"
    if number == signal.SIGINT or says.get("JobState") != "RUNNING" or not warned:
        return False
    if says.get("Requeue") != "1":
        log.warning("Slurm job %s is not to be queued again", job)
        return False
    if not progress and number != signal.SIGTERM:
        # It would come here again and again.
        error = (
            f"Slurm job {job}: its time was up before its first checkpoint; expected a longer "
            "hydra.launcher.time"
        )
        run.update_status(state="failed", error=error)
        log.error(error)
        return False
    log.info("Slurm job %s goes into the queue again", job)
    command = ["scontrol", "requeue", job]
    asking = subprocess.run(command, check=False, capture_output=True, text=True)
    if asking.returncode != 0:
        log.error("scontrol requeue %s: %s", job, asking.stderr.strip())
    return asking.returncode == 0


def _slurm_says(job: str) -> dict[str, str]:
    """What Slurm knows of a job; nothing where it does not answer."""
    command = ["scontrol", "show", "job", "--oneliner", job]
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    return dict(re.findall(r"(\w+)=(\S*)", said))


def _job() -> str:
    """This job by the name that means nothing but itself: the last one of an array has the array's
    number, too."""
    env = os.environ
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env["SLURM_JOB_ID"]


def _newest_checkpoint(run: RunDir) -> int:
    """When the checkpoint was written that the run goes on from; 0 where there is none."""
    last = run.checkpoint()
    return last.stat().st_mtime_ns if last.exists() else 0
