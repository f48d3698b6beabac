"""Run a command in this process, as the command line would in its own."""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pets.cli.arguments import in_full
from pets.cli.hydra_errors import explain
from pets.cli.main import tidy
from pets.commands import load_command
from pets.config.resolvers import register_resolvers
from pets.errors import ConfigError, PetsError
from pets.system.installation import conf_dir
from pets.system.signals import Stopped, stoppable
from pets.training.console import hints

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig


def run_command(name: str, words: Sequence[str]) -> JobReturn:
    """Run `pets <name> <words>` in this process, with its output here.

    Args:
        name: of the command.
        words: its arguments, as typed in a shell.

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

    def task(cfg: DictConfig) -> Any:
        try:
            return tidy(module.run)(cfg)
        except PetsError as error:
            return error  # of one that is raised Hydra would print a line of its own

    print("$ pets", name, *map(_as_typed, words))
    try:
        with _log_of_its_own(), stoppable(), initialize_config_dir(str(conf_dir()), name, "1.3"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            job = hydra.run(name, task, in_full(name, words))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, name, module.SCHEMA)) from None
    except Stopped:
        raise KeyboardInterrupt from None
    if isinstance(job.return_value, PetsError):
        raise job.return_value
    return job


def _as_typed(word: str) -> str:
    """An argument as a shell needs it, readable if it contains quotes."""
    plain = "'" not in word or re.search(r'["$`\\!]', word)
    return shlex.quote(word) if plain else f'"{word}"'


@contextlib.contextmanager
def _log_of_its_own() -> Iterator[None]:
    """Remove a command's log handlers after it; the notebook keeps its own."""
    root, level, said = logging.getLogger(), logging.getLogger().level, hints.level
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
        hints.setLevel(said)
