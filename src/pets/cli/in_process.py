"""Run a command in this process, as the command line would in its own."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pets.cli.arguments import to_overrides
from pets.cli.main import task
from pets.cli.mistakes import one_line
from pets.commands import load_command
from pets.config.resolvers import register_resolvers
from pets.errors import ConfigError, PetsError
from pets.system.installation import conf_dir
from pets.system.signals import Stopped, stoppable
from pets.training.console import hints

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn


def run_command(name: str, args: Sequence[str]) -> JobReturn:
    """Run `pets <name> <args>` in this process, with its output here.

    Returns:
        Hydra's result: the composed config, and the return value of the command.

    Raises:
        PetsError: A mistake of the user.
        KeyboardInterrupt: It was interrupted.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register_resolvers()
    module = load_command(name)
    print("$", shlex.join(["pets", name, *args]))
    try:
        with _own_log(), stoppable(), initialize_config_dir(str(conf_dir()), name, "1.3"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            return hydra.run(name, task(name, module), to_overrides(name, args))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(one_line(error, name, module.SCHEMA))) from None
    except Stopped:
        raise KeyboardInterrupt from None
    except SystemExit as end:
        if isinstance(end.__cause__, PetsError):
            raise end.__cause__ from None
        if isinstance(end.code, str):  # what the operating system refused
            raise PetsError(end.code) from end.__cause__
        raise


@contextlib.contextmanager
def _own_log() -> Iterator[None]:
    """Remove a command's log handlers after it; the notebook keeps its own."""
    root, level, hints_level = logging.getLogger(), logging.getLogger().level, hints.level
    before = root.handlers[:]
    # Configuring logging closes every handler on this list, whoever uses it.
    known: list[Any] = logging._handlerList  # type: ignore[attr-defined]
    others = known[:]
    known.clear()
    hints.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(before):
            handler.close()
        root.handlers[:] = before
        known[:] = others
        root.setLevel(level)
        hints.setLevel(hints_level)
