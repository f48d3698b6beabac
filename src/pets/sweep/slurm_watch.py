"""Waiting for a sweep's Slurm jobs: what is said of each, and what becomes of those that die."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pets.sweep.finish import reached
from pets.sweep.jobs import Job
from pets.sweep.slurm_queue import Phase, job_of, log_of, sacct, squeue
from pets.system.signals import Stopped

log = logging.getLogger(__name__)

# Seconds. Slurm is asked often at first, then as seldom as its administrators like it.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 30.0
# What a node has written may be seen here that much later, over a network file system.
_FILES_ARRIVE = 30.0


@contextlib.contextmanager
def left_to_slurm(jobs: Sequence[Job], folder: Path, again: str) -> Iterator[None]:
    """Ctrl-C and signals end the launching process alone: then it says how to find the jobs.
    `again` is the command that waits for them."""
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        numbers = {(job_of(job.run) or "").partition("_")[0] for job in jobs} - {""}
        log.warning("the jobs go on in Slurm")
        log.warning("  what they have reached: pets summarize %s", folder)
        log.warning("  wait for them again:    %s", again)
        log.warning("  cancel them:            scancel %s", " ".join(sorted(numbers)))
        raise


def watch(jobs: Sequence[Job]) -> None:
    """Return when no job is left in Slurm, with a line whenever the state of one changes.

    A run that Slurm has ended is `failed`, with Slurm's reason.
    """
    _watch([_Watched(job) for job in jobs])


def _watch(jobs: list[_Watched]) -> None:
    began, answered, left = time.monotonic(), True, jobs
    while left:
        queue = squeue()
        if queue is not None:
            for job in left:
                if job.over(queue.get(job.id)):
                    done = 1 + len(jobs) - len(left)
                    left = [other for other in left if other is not job]
                    job.say_end(f"{done}/{len(jobs)}")
        elif answered:
            log.warning("squeue gives no answer; asking again")
        answered = queue is not None
        if left:
            waited = time.monotonic() - began
            time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE + waited / 20))


class _Watched:
    def __init__(self, job: Job) -> None:
        self.run, self.name = job.run, job.name
        self.id = job_of(job.run) or ""
        # That a job waits at first goes without saying.
        self._said = Phase("PENDING").words
        self._ended: float | None = None

    def over(self, phase: Phase | None) -> bool:
        """Whether the job is at its end; says what is new. `phase` is None for a job that squeue
        does not know, any more or yet."""
        state = self.run.status.get("state")
        finishing = phase is not None and state == "finished" and phase.state == "COMPLETING"
        if phase is not None and not phase.ended and not finishing:
            self._ended = None
            stopped = state == "interrupted" and phase.state == "PENDING"
            again = f"stopped ({self.run.position()}), " if stopped else ""
            if phase.state != "COMPLETING":
                self._say(again + phase.words)
            return False
        if self._ended is None:
            self._ended = time.monotonic()
        return state in ("finished", "failed") or self._fail(phase, state)

    def say_end(self, count: str) -> None:
        """What became of the job, the `count`-th that ended."""
        level = logging.INFO if self.run.finished else logging.WARNING
        log.log(level, "%s  %s: %s", count, self.name, reached(self.run))

    def _fail(self, phase: Phase | None, state: str | None) -> bool:
        """Note why Slurm has ended the run; False while its own last words may be on their way."""
        how = phase.state if phase is not None else sacct(self.id) or "no longer known"
        its_own_end = how in ("COMPLETED", "FAILED", "no longer known")
        stopped = state == "interrupted"
        assert self._ended is not None
        if its_own_end and not stopped and time.monotonic() < self._ended + _FILES_ARRIVE:
            return False
        if not (its_own_end and stopped):
            error = f"Slurm job {self.id}: {how}; see {log_of(self.run)}"
            self.run.update_status(state="failed", error=error)
        return True

    def _say(self, words: str) -> None:
        if words != self._said:
            log.info("%s: %s", self.name, words)
        self._said = words
