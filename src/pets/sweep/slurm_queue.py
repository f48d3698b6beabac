"""What Slurm says of its jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pets.errors import RunError
from pets.run_dir import RunDir

# Beside a run directory's status.json: the Slurm job that trains there, and its log. A file of its
# own, since only the launching process writes it and only the training writes the status.
_FILE = "slurm.json"

_ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "TIMEOUT",
)  # fmt: skip
# Why a job waits, where that is no news.
_USUAL = ("", "None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Prolog")


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
    def words(self) -> str:
        """For the screen."""
        if self.state == "PENDING":
            return "waits in Slurm" + (f" ({self.reason})" if self.reason not in _USUAL else "")
        if self.state == "RUNNING":
            return f"runs on {self.nodes}"
        return self.state.lower()


def squeue() -> dict[str, Phase] | None:
    """This user's jobs by their ids (`12`, of an array `12_3`), with those that ended a short time
    ago; None where Slurm does not answer."""
    command = [
        "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}",
        "--format=%i|%T|%r|%N",
    ]  # fmt: skip
    said = _output(command)
    if said is None:
        return None
    rows = (line.split("|") for line in said.splitlines())
    return {job.strip(): Phase(state, reason, nodes) for job, state, reason, nodes in rows}


def sacct(job: str) -> str | None:
    """How a job ended that squeue knows no more; None where there is no accounting."""
    command = ["sacct", "--noheader", "--allocations", "--parsable2", "--format=State"]
    said = _output([*command, f"--jobs={job}"]) or ""
    # CANCELLED by 1000
    return next((line.split()[0] for line in said.splitlines() if line.strip()), None)


def note_job(run: RunDir, job: str, log: Path) -> None:
    """Remember the Slurm job that a run was given to, and where its tasks write."""
    run.write_json(_FILE, {"job": job, "log": str(log)})


def job_of(run: RunDir) -> str | None:
    """The Slurm job that the run was last given to."""
    return run.read_json(_FILE)["job"] if (run.path / _FILE).exists() else None


def log_of(run: RunDir) -> str:
    """What the tasks of that job wrote, a file each."""
    return str(run.read_json(_FILE)["log"])


def in_slurm(run: RunDir) -> bool:
    """Whether a Slurm job trains the run, or waits to. Raises RunError where that is not known."""
    job = job_of(run)
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


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
