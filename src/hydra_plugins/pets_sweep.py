"""Where Hydra looks for launchers and sweepers: it accepts only classes of this package.

Each one of a module of `pets.sweep` gets a subclass of the same name here.
"""

from __future__ import annotations

from importlib import import_module
from inspect import getmembers, isclass
from pkgutil import iter_modules

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from pets import sweep


class GridSweeper(BasicSweeper):
    """Hydra's sweeper, except that the launcher composes and checks the jobs."""

    def validate_batch_is_legal(self, batch: object) -> None:
        """Nothing: the launcher does it."""


for _module in iter_modules(sweep.__path__, f"{sweep.__name__}."):
    for _name, _class in getmembers(import_module(_module.name), isclass):
        if _class.__module__ == _module.name and issubclass(_class, Launcher | Sweeper):
            globals()[_name] = type(_name, (_class,), {"__module__": __name__})
