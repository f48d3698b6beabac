"""Jobs in Slurm: their ids, their state in the queue, and waiting for their end."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pets.errors import RunError
from pets.run_dir import RunDir
from pets.sweep.jobs import Job
from pets.system.signals import Stopped

log = logging.getLogger(__name__)

# In a run directory: the id of its Slurm job and the path of its log. The launcher writes this
# file, the training writes status.json.
_FILE = "slurm.json"

_ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "TIMEOUT",
)  # fmt: skip
# Seconds. Slurm is asked often at first, then as seldom as its administrators like it.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 30.0
# What a node writes may appear here that much later, on a network file system.
_FILES_ARRIVE = 30.0
# Reasons for waiting that are no news.
_USUAL_REASONS = ("", "None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Prolog")


@dataclass(frozen=True)
class Phase:
    """A job in Slurm: its state (`RUNNING`), why it waits, and on which nodes it runs."""

    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    @property
    def description(self) -> str:
        """For the screen."""
        if self.state == "PENDING":
            reason = "" if self.reason in _USUAL_REASONS else f" ({self.reason})"
            return f"waits in Slurm{reason}"
        if self.state == "RUNNING":
            return f"runs on {self.nodes}"
        return self.state.lower()


def squeue() -> dict[str, Phase] | None:
    """This user's jobs by their ids (`12`, in an array `12_3`), recently ended ones included.

    Returns:
        None where Slurm does not answer.
    """
    command = [
        "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
        "--format=%i|%T|%r|%N",
    ]  # fmt: skip
    output = _output(command)
    if output is None:
        return None
    rows = (line.split("|") for line in output.splitlines())
    return {job.strip(): Phase(state, reason, nodes) for job, state, reason, nodes in rows}


def sacct(job: str) -> str | None:
    """How a job ended that squeue no longer knows; None without Slurm's accounting."""
    command = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State"]
    output = _output([*command, f"--jobs={job}"]) or ""
    # CANCELLED by 1000
    return next((line.split()[0] for line in output.splitlines() if line.strip()), None)


def save_job(run: RunDir, job: str, log_file: Path) -> None:
    """Save the id of a run's Slurm job and the path of its log in the run directory."""
    run.write_json(_FILE, {"job": job, "log": str(log_file)})


def job_id(run: RunDir) -> str | None:
    """The id of the Slurm job that the run was last submitted as."""
    return run.read_json(_FILE)["job"] if (run.path / _FILE).exists() else None


def in_slurm(run: RunDir) -> bool:
    """Whether a Slurm job trains the run or waits to. Raises RunError where Slurm is silent."""
    job = job_id(run)
    if job is None or shutil.which("squeue") is None:
        return False
    queue = squeue()
    if queue is None:
        raise RunError(
            f"{run.path}: was given to Slurm as job {job}, and squeue gives no answer now; it "
            "may be running there"
        )
    phase = queue.get(job)
    return phase is not None and not phase.ended


@contextlib.contextmanager
def jobs_left_in_slurm(jobs: Sequence[Job], folder: Path, resume: str) -> Iterator[None]:
    """When a signal ends the launcher, log how to find its jobs, which go on.

    Args:
        jobs: The submitted jobs.
        folder: The sweep's folder.
        resume: The command that waits for them again.
    """
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        numbers = {(job_id(job.run) or "").partition("_")[0] for job in jobs} - {""}
        log.warning("the jobs go on in Slurm")
        log.warning("  what they have reached: pets summarize %s", folder)
        log.warning("  wait for them again:    %s", resume)
        log.warning("  cancel them:            scancel %s", " ".join(sorted(numbers)))
        raise


def watch(jobs: Sequence[Job]) -> None:
    """Wait for all jobs to leave Slurm, and log every change of state.

    A run that Slurm has ended becomes `failed`, with Slurm's reason.
    """

    waiting = [_Watch(job) for job in jobs]
    started, answered = time.monotonic(), True
    while waiting:
        queue = squeue()
        if queue is not None:
            for watched in [w for w in waiting if w.has_ended(queue.get(w.id))]:
                waiting.remove(watched)
                level = logging.INFO if watched.job.run.finished else logging.WARNING
                count = f"{len(jobs) - len(waiting)}/{len(jobs)}"
                log.log(level, "%s  %s: %s", count, watched.job.name, watched.job.outcome())
        elif answered:
            log.warning("squeue gives no answer; asking again")
        answered = queue is not None
        if waiting:
            elapsed = time.monotonic() - started
            time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE + elapsed / 20))


class _Watch:
    """A job that is waited for."""

    def __init__(self, job: Job) -> None:
        self.job, self.run = job, job.run
        self.id = job_id(job.run) or ""
        self._logged = Phase("PENDING").description  # no news at first
        self._ended: float | None = None  # when squeue first said so

    def has_ended(self, phase: Phase | None) -> bool:
        """Whether the job is over; logs a new phase.

        Args:
            phase: None where squeue does not know the job, no longer or not yet.
        """
        state = self.run.status.get("state")
        finishing = phase is not None and state == "finished" and phase.state == "COMPLETING"
        if phase is not None and not phase.ended and not finishing:
            self._ended = None
            if phase.state != "COMPLETING":
                requeued = state == "interrupted" and phase.state == "PENDING"
                stopped = f"stopped ({self.run.position()}), " if requeued else ""
                self._log(stopped + phase.description)
            return False
        if self._ended is None:
            self._ended = time.monotonic()
        return state in ("finished", "failed") or self._ended_by_slurm(phase, state, self._ended)

    def _ended_by_slurm(self, phase: Phase | None, state: str | None, since: float) -> bool:
        """Write Slurm's reason into the status; False while the run's own may still arrive."""
        how = phase.state if phase is not None else sacct(self.id) or "no longer known"
        by_itself = how in ("COMPLETED", "FAILED", "no longer known")
        stopped = state == "interrupted"
        if by_itself and not stopped and time.monotonic() < since + _FILES_ARRIVE:
            return False
        if not (by_itself and stopped):
            error = f"Slurm job {self.id}: {how}; see {self.run.read_json(_FILE)['log']}"
            self.run.update_status(state="failed", error=error)
        return True

    def _log(self, description: str) -> None:
        if description != self._logged:
            log.info("%s: %s", self.job.name, description)
        self._logged = description


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
