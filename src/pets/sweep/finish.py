"""The end of a sweep: its summary, what failed, and what to do then."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from pets.errors import PetsError
from pets.run_dir import RunDir, from_here
from pets.sweep.jobs import runs_of

log = logging.getLogger(__name__)


class SweepEnd(Callback):
    """Hydra callback: what was reached, what failed, and an exit code that tells of it."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Exit with 1 unless every run of the sweep's folder is finished."""
        folder = from_here(str(config.hydra.sweep.dir))
        try:
            say_summary(folder)
        except PetsError as error:  # the runs are what counts
            log.error("%s", error)
        if not all(run.finished for run in runs_of(folder)):
            log.error("the rest again: %s", again(config, folder))
            raise SystemExit(1)


def say_summary(folder: Path) -> None:
    """Write the summary of a sweep and say its main lines.

    Raises RunError where there is no run, and where it cannot be written.
    """
    from pets.sweep.summary import on_screen, summarize, write_summary

    summary = summarize(folder)
    page = write_summary(summary)
    for line in on_screen(summary):
        log.info("%s", line)
    log.info("\nsummary  %s", page)


def again(config: DictConfig, folder: Path) -> str:
    """What to type for a sweep to go on, with the launcher that it had."""
    words = [word for word in config.hydra.overrides.hydra if re.match(r"hydra[./]launcher", word)]
    return shlex.join(["pets", "train", "-m", f"sweep.resume={folder}", *words])


def reached(run: RunDir) -> str:
    """What became of a run: its error rate on the validation photos, or why there is none."""
    if run.finished:
        error = valid_error(run)
        return "no validation photos" if error is None else f"error {100 * error:.1f} %"
    status = run.status
    lines = str(status.get("error") or "").strip().splitlines()  # the last one of a traceback
    return ": ".join([run.state, *lines[-1:]])


def valid_error(run: RunDir) -> float | None:
    """The error rate by which runs are chosen; none before the end, nor without validation photos:
    the test photos are not for choosing."""
    found: Mapping[str, Any] = run.status.get("results", {}).get("valid", {})
    return found.get("error_rate") if run.finished else None
