"""The console command `pets`: each sub-command is a Hydra application of its own."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from pets.cli.arguments import completion, to_overrides
from pets.cli.startup import folders, screen
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
    """Run `pets COMMAND ...` with the arguments of the command line."""
    with screen():
        _main(sys.argv[1:])


def _main(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS)) + 2
        rows = [f"  {name:<{width}}{text}" for name, text in COMMANDS.items()]
        print(HELP.format(commands="\n".join(rows)))
        return
    if args[0] == "--version":
        from pets import __version__

        print(f"pets {__version__}")
        return
    if args[0] in ("-sc", "--shell-completion"):
        completed = completion(args, COMMANDS)
        if completed is None:
            return
        args = completed
    name, *args = args
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean pets {close[0]}?" if close else f"one of {', '.join(COMMANDS)}"
        _stop(f"pets {name}: no such command; {hint}", code=2)
    overrides = to_overrides(name, args)
    for key in ("action=", "sweep="):  # of two of them Hydra would take the last
        if sum(override.startswith(key) for override in overrides) > 1:
            _stop(f"pets {name}: got several of {key}...; expected one", code=2)
    threading.excepthook = _report_failed_thread
    try:
        folders()
        run_command(name, overrides)
    except ConfigError as error:
        _stop(str(error))
    except KeyboardInterrupt:
        _stop("stopped", code=130)
    except SystemExit as end:
        if isinstance(end, Stopped) and not end.reported:
            _stop("stopped", 128 + end.signal)
        if isinstance(end.code, str):
            _stop(end.code)
        raise


def run_command(name: str, overrides: list[str]) -> tuple[Any, Any]:
    """Run one sub-command as a Hydra application.

    Returns:
        The composed config and what the command returns; None where Hydra's flags show something.

    Raises:
        SystemExit: what the user can mend, as one line, with the error as its cause.
    """
    # Hydra then hands us its errors instead of printing several lines and a traceback.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra

    from pets.cli.mistakes import one_line
    from pets.config.resolvers import register_resolvers

    register_resolvers()
    module = load_command(name)
    result: tuple[Any, Any] = None, None

    @functools.wraps(module.run)
    def job(cfg: DictConfig) -> Any:
        nonlocal result
        result = cfg, _run_job(name, module, cfg)
        return result[1]

    app = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
    typed = sys.argv
    try:
        if not getattr(module, "SEVERAL_PROCESSES", False):
            check_alone(name)
        elif {"-m", "--multirun"} & set(overrides):
            from pets.sweep.overrides import with_saved_overrides

            check_alone("train -m")
            overrides = with_saved_overrides(overrides)
        sys.argv = [typed[0], *_of_this_rank(overrides)]
        with stoppable():
            app(job)()
    except Exception as error:
        line = one_line(error, name, module.SCHEMA)
        if line is None:
            raise
        raise SystemExit(line) from error
    finally:
        sys.argv = typed
    return result


def _run_job(name: str, module: ModuleType, cfg: DictConfig) -> Any:
    """Run a command with its config; after a mistake no empty folder is left.

    The mistake of a single job is a SystemExit: about other exceptions Hydra prints a line of its
    own. In a sweep Hydra gets the mistake itself, and goes on with the other jobs.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from pets.cli.mistakes import one_line

    hydra = HydraConfig.get()
    try:
        _refuse_empty(hydra.overrides.task)
        return module.run(cfg)
    except BaseException as error:
        _leave_nothing(Path(hydra.runtime.output_dir), hydra.job.name)
        line = one_line(error, name, module.SCHEMA)
        if line is None or hydra.mode == RunMode.MULTIRUN:
            raise
        raise SystemExit(line) from error


def _refuse_empty(overrides: list[str]) -> None:
    """Hydra merges `key={}` into what is there, so it changes nothing: not what was meant."""
    for override in overrides:
        if override.endswith("={}"):
            raise ConfigError(
                f"{override}: changes nothing, Hydra merges it into what is there; "
                f"to remove a key: ~{override.removesuffix('={}')}.<name>"
            )


def _leave_nothing(folder: Path, job: str) -> None:
    """Remove the directory that Hydra made for a run, if there is nothing but its log."""
    if not ranks().writer:
        return
    log = folder / f"{job}.log"
    with contextlib.suppress(OSError):
        if list(folder.iterdir()) == [log]:
            log.unlink()
            folder.rmdir()


def _of_this_rank(overrides: list[str]) -> list[str]:
    """The overrides for Hydra. Of several ranks rank 0 has the run directory and the log; another
    one would make its own."""
    if ranks().writer:
        return overrides
    ours = ("hydra.run.dir=", "hydra/job_logging=")
    others = [override for override in overrides if not override.startswith(ours)]
    return [*others, "hydra.run.dir=.", "hydra/job_logging=rank"]


def _report_failed_thread(failed: threading.ExceptHookArgs) -> None:
    """A thread of a library has ended, such as TensorBoard's writer; the work goes on."""
    line = system_error(failed.exc_value) if failed.exc_value else None
    if line is None:
        threading.__excepthook__(failed)
    else:
        print(line, file=sys.stderr)


def _stop(message: str, code: int = 1) -> NoReturn:
    with contextlib.suppress(PetsError):
        if code == 1 and not ranks().writer:
            # Rank 0 probably reports the same, and its end is the end of this process.
            time.sleep(_RANK_0_FIRST)
            message = f"rank {ranks().rank}: {message}"
    print(printable(message), file=sys.stderr)
    raise SystemExit(code)
