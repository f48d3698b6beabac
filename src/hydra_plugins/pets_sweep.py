"""Where Hydra looks for launchers and sweepers: it accepts only classes of this package."""

from __future__ import annotations

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from pets.sweep import local, optuna, slurm


class LocalLauncher(local.LocalLauncher):
    pass


class SlurmLauncher(slurm.SlurmLauncher):
    pass


class GridSweeper(BasicSweeper):
    """Hydra's sweeper, except that the launcher composes and checks the jobs."""

    def validate_batch_is_legal(self, batch: object) -> None:
        """Nothing: the launcher does it."""


class OptunaSweeper(optuna.OptunaSweeper):
    pass
