"""Where Hydra looks for launchers and sweepers; imported by every Hydra application."""

from __future__ import annotations

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from pets.sweep.local import ProcessLauncher
from pets.sweep.search import SmartSweeper
from pets.sweep.slurm import SlurmJobsLauncher


class LocalLauncher(ProcessLauncher):
    pass


class SlurmLauncher(SlurmJobsLauncher):
    pass


class GridSweeper(BasicSweeper):
    """Hydra's own, without its composing of every job beforehand: the launcher does that."""

    def validate_batch_is_legal(self, batch: object) -> None:
        """Leave it to the launcher."""


class OptunaSweeper(SmartSweeper):
    pass
