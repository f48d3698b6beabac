"""Jobs in Slurm: their ids, their state in the queue, and waiting for their end."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from pets.errors import RunError
from pets.run_dir import RunDir
from pets.sweep.jobs import Job, log_outcome

log = logging.getLogger(__name__)

# In a run directory: the id of its Slurm job and the path of its log. Written by the launcher,
# whereas status.json is written by the job.
_FILE = "slurm.json"
_ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "TIMEOUT",
)  # fmt: skip
_UNKNOWN = "no longer known"  # or not yet
# Seconds between queries of Slurm: short at first, then long, to keep its load low.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 30.0
# Seconds until files written on a node appear here, on a network file system.
_FILES_ARRIVE = 30.0


def squeue() -> dict[str, str] | None:
    """Return the states of this user's jobs by id (`12`, in an array `12_3`).

    Recently ended jobs are included. None if Slurm does not respond.
    """
    command = [
        "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
        "--format=%i|%T",
    ]  # fmt: skip
    try:
        ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.strip().partition("|") for line in ended.stdout.splitlines())
    return {job: state for job, _, state in rows}


def alive_jobs() -> set[str] | None:
    """Return the ids of this user's queued and running jobs; None if Slurm does not respond."""
    states = squeue()
    return None if states is None else {job for job in states if states[job] not in _ENDED}


def save_job(run: RunDir, job: str, log_file: Path) -> None:
    """Save the id of a run's Slurm job and the path of its log in the run directory."""
    run.write_json(_FILE, {"job": job, "log": str(log_file)})


def job_id(run: RunDir) -> str | None:
    """Return the id of the Slurm job that the run was last submitted as."""
    return run.read_json(_FILE)["job"] if (run.path / _FILE).exists() else None


def in_slurm(run: RunDir) -> bool:
    """Whether the run is queued or running in Slurm. Raises RunError if Slurm does not respond."""
    job = job_id(run)
    if job is None or shutil.which("squeue") is None:
        return False
    alive = alive_jobs()
    if alive is None:
        raise RunError(
            f"{run.path}: was submitted to Slurm as job {job}, and squeue does not respond; it "
            "may be running there"
        )
    return job in alive


def watch(jobs: Sequence[Job]) -> None:
    """Wait for all jobs to leave Slurm, and log every change of state.

    A run whose job Slurm ended becomes `failed`, with Slurm's reason.
    """
    waiting = {job_id(job.run) or "": job for job in jobs}
    shown: dict[str, str] = {}
    ended: dict[str, float] = {}  # when squeue first reported it
    started = time.monotonic()
    while waiting:
        states = squeue()
        if states is None:
            log.warning("squeue does not respond; trying again")
        for number, job in list(waiting.items() if states is not None else ()):
            state = (states or {}).get(number, _UNKNOWN)
            if state not in (*_ENDED, _UNKNOWN):
                ended.pop(number, None)
                stopped = state == "PENDING" and job.run.status.get("state") == "interrupted"
                text = f"stopped ({job.run.position()}), " if stopped else ""
                text += f"{state.lower()} in Slurm"
                if shown.get(number, "pending in Slurm") != text:
                    log.info("%s: %s", job.name, text)
                shown[number] = text
            elif _is_over(job.run, number, state, ended.setdefault(number, time.monotonic())):
                del waiting[number]
                log_outcome(job, len(jobs) - len(waiting), len(jobs))
        if waiting:
            elapsed = time.monotonic() - started
            time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE + elapsed / 20))


def _is_over(run: RunDir, number: str, slurm: str, since: float) -> bool:
    """Write Slurm's reason to the status; False while the run's own status may still arrive."""
    state = run.status.get("state")
    if state in ("finished", "failed"):
        return True
    if slurm in ("COMPLETED", "FAILED", _UNKNOWN):  # the job ended by itself
        if state == "interrupted":
            return True
        if time.monotonic() < since + _FILES_ARRIVE:
            return False
    error = f"Slurm job {number}: {slurm}; see {run.read_json(_FILE)['log']}"
    run.update_status(state="failed", error=error)
    return True
