"""The end of a sweep: what failed, and what to do then."""

from __future__ import annotations

import logging
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from pets.run_dir import RunDir, from_here
from pets.sweep.jobs import runs_of

log = logging.getLogger(__name__)


class SweepEnd(Callback):
    """Hydra callback: one table of the failures, and an exit code that tells of them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Exit with 1 unless every run of the sweep's folder is finished."""
        folder = from_here(str(config.hydra.sweep.dir))
        runs = runs_of(folder)
        left = [run for run in runs if run.status.get("state") != "finished"]
        log.info("%s of %s runs finished", len(runs) - len(left), len(runs))
        for run in left:
            log.error("  %s  %s", run.path.name, in_a_line(run))
        if left:
            log.error("the rest again: pets train -m sweep.resume=%s", folder)
            raise SystemExit(1)


def in_a_line(run: RunDir) -> str:
    """A run's state, and why it is not finished: the last line of a traceback."""
    status = run.status
    lines = str(status.get("error") or "").strip().splitlines()
    return ": ".join([str(status.get("state")), *lines[-1:]])
