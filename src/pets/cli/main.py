"""The console command `pets`: each sub-command is a Hydra application of its own."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pets.cli.arguments import completion_words, in_full
from pets.cli.startup import folders, names_in_utf8, screen
from pets.commands import list_commands, load_command
from pets.distributed.ranks import check_alone, ranks
from pets.errors import ConfigError, PetsError, printable
from pets.system.installation import conf_dir
from pets.system.os_errors import system_error
from pets.system.signals import Stopped, stoppable

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMANDS = list_commands()
_RANK_0_FIRST = 10  # seconds

HELP = """\
pets: photo classifiers by transfer learning, as experiments you can understand

usage: pets COMMAND [key=value ...] [Hydra flags]

{commands}

first steps
  pets train experiment=quickstart                      train on drawn demo pets, a minute or two
  pets train data=folder data.root=my_photos            train on your own photos
  pets COMMAND --help                                   its config groups and every key
  pets COMMAND --cfg job [key=value ...]                the composed config, without running it
  pets train -m seed=0,1,2 model=resnet34,resnet50      a sweep
  eval "$(pets -sc install=bash)"                       tab completion (also zsh, fish)"""


def main() -> None:
    """Run `pets COMMAND ...` with the words of the command line."""
    names_in_utf8()
    with screen():
        _main()


def _main() -> None:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS)) + 2
        rows = [f"  {name:<{width}}{text}" for name, text in COMMANDS.items()]
        print(HELP.format(commands="\n".join(rows)))
        return
    if words[0] == "--version":
        from pets import __version__

        print(f"pets {__version__}")
        return
    if words[0] in ("-sc", "--shell-completion"):
        asked = completion_words(words, COMMANDS)
        if asked is None:
            return
        words = asked
    name, *words = words
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean pets {close[0]}?" if close else f"one of {', '.join(COMMANDS)}"
        _stop(f"pets {name}: no such command; {hint}", code=2)
    words = in_full(name, words)
    if sum(word.startswith("action=") for word in words) > 1:
        _stop("pets cache: list or clear, not both", code=2)
    if sum(word.startswith("sweep=") for word in words) > 1:
        _stop("pets summarize: one folder at a time", code=2)
    if sum(word.startswith("pattern=") for word in words) > 1:
        _stop("pets models: one pattern at a time, in quotes: 'vit*dino*'", code=2)
    try:
        folders()
    except ConfigError as error:
        _stop(str(error))
    threading.excepthook = _of_thread
    run_command(name, words)


def run_command(name: str, arguments: list[str]) -> None:
    """Run one sub-command as a Hydra application; a user's mistake, and what the operating system
    refuses, end in one line."""
    # Hydra then hands us its errors instead of printing several lines and a traceback.
    show_all = os.environ.setdefault("HYDRA_FULL_ERROR", "1") == "full"
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from pets.config.resolvers import register_resolvers

    register_resolvers()
    module = load_command(name)
    app = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
    try:
        if not getattr(module, "SEVERAL_PROCESSES", False):
            check_alone(name)
        elif {"-m", "--multirun"} & set(arguments):
            from pets.sweep.overrides import with_saved_overrides

            check_alone("train -m")
            arguments = with_saved_overrides(arguments)
        sys.argv = [sys.argv[0], *_of_this_rank(arguments)]
        with stoppable():
            app(_one_line_on_mistakes(module.run))()
    except (PetsError, HydraException, OmegaConfBaseException) as error:
        if show_all:
            raise
        from pets.cli.hydra_errors import explain

        _stop(explain(error, name, module.SCHEMA))
    except KeyboardInterrupt:
        _stop("stopped", code=130)
    except Stopped as stopped:
        if stopped.said:
            raise
        _stop("stopped", code=128 + stopped.signal)
    except Exception as error:
        line = system_error(error)
        if not show_all and line is not None:
            _stop(line)
        # Hydra's own, of flags that do not go together.
        if show_all or not isinstance(error, ValueError) or "can be specified" not in str(error):
            raise
        _stop(str(error), code=2)


def _of_thread(failed: threading.ExceptHookArgs) -> None:
    """What ended a thread of a library, such as TensorBoard's writer; the work goes on."""
    line = system_error(failed.exc_value) if failed.exc_value else None
    if line is None:
        threading.__excepthook__(failed)
    else:
        print(line, file=sys.stderr)


def _of_this_rank(arguments: list[str]) -> list[str]:
    """The words for Hydra. Of several ranks rank 0 has the run directory and the log; another one
    would make its own."""
    if ranks().writer:
        return arguments
    own = ("hydra.run.dir=.", "hydra/job_logging=rank")
    groups = tuple(word.partition("=")[0] + "=" for word in own)
    return [*(word for word in arguments if not word.startswith(groups)), *own]


def _one_line_on_mistakes(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Report what ends a single job here: Hydra would print a second line about it.

    In a sweep it is left to Hydra, which goes on with the other jobs.
    """

    @functools.wraps(task)
    def job(cfg: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        try:
            return tidy(task)(cfg)
        except Exception as error:
            line = str(error) if isinstance(error, PetsError) else system_error(error)
            shown_whole = os.environ.get("HYDRA_FULL_ERROR") == "full"
            if line is None or shown_whole or HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            _stop(line)

    return job


def tidy(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """The task of a command, which refuses what Hydra would ignore, and leaves no empty folder
    behind where there was a mistake."""

    @functools.wraps(task)
    def job(cfg: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        try:
            _refuse_empty(hydra.overrides.task)
            return task(cfg)
        except BaseException:
            _leave_nothing(Path(hydra.runtime.output_dir), hydra.job.name)
            raise

    return job


def _refuse_empty(overrides: list[str]) -> None:
    """Hydra merges `key={}` into what is there, so it changes nothing: not what was meant."""
    for word in overrides:
        if word.endswith("={}"):
            raise ConfigError(
                f"{word}: changes nothing, Hydra merges it into what is there; "
                f"to remove a key: ~{word.removesuffix('={}')}.<name>"
            )


def _leave_nothing(folder: Path, job: str) -> None:
    """Remove what Hydra made for a run that never began: its directory with the log, if that is all
    there is in it."""
    if not ranks().writer:
        return
    log = folder / f"{job}.log"
    with contextlib.suppress(OSError):  # the mistake itself is what has to be said
        if [file.name for file in folder.iterdir()] == [log.name]:
            log.unlink()
            folder.rmdir()


def _stop(message: str, code: int = 1) -> NoReturn:
    with contextlib.suppress(PetsError):
        if code == 1 and not ranks().writer:
            # Rank 0 most probably says the same, and its end is the end of this process.
            time.sleep(_RANK_0_FIRST)
            message = f"rank {ranks().rank}: {message}"
    print(printable(message), file=sys.stderr)
    raise SystemExit(code)
