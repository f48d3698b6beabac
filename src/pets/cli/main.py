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

from pets.cli.arguments import ALIASES, completion, to_overrides
from pets.cli.startup import (
    find_own_modules,
    redirect_unwritable_caches,
    restart_in_utf8,
    safe_stdio,
)
from pets.commands import list_commands, load_command
from pets.distributed.ranks import check_single_process, ranks
from pets.errors import ConfigError, PetsError, printable
from pets.system.installation import code_version, conf_dir
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
    restart_in_utf8()
    with safe_stdio():
        _main(sys.argv[1:])


def _main(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS)) + 2
        rows = [f"  {name:<{width}}{text}" for name, text in COMMANDS.items()]
        print(HELP.format(commands="\n".join(rows)))
        return
    if args[0] == "--version":
        print(f"pets {code_version()}")
        return
    if args[0] in ("-sc", "--shell-completion"):
        completed = completion(args, COMMANDS)
        if completed is None:
            return
        args = completed
    name, *args = [*ALIASES.get(args[0], (args[0],)), *args[1:]]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], n=1)
        hint = f"did you mean pets {close[0]}?" if close else f"one of {', '.join(COMMANDS)}"
        _exit_with(f"pets {name}: no such command; {hint}", code=2)
    overrides = to_overrides(name, args)
    # Of a key that is given twice, Hydra would use the last value.
    for key in ("action=", "sweep=", "pattern=", "split=", "old=", "new="):
        if sum(override.startswith(key) for override in overrides) > 1:
            _exit_with(f"pets {name}: got several of {key}...; expected one", code=2)
    threading.excepthook = _report_failed_thread
    try:
        redirect_unwritable_caches()
        run_command(name, overrides)
    except ConfigError as error:
        _exit_with(str(error))
    except KeyboardInterrupt:
        _exit_with("stopped", code=130)
    except SystemExit as end:
        if isinstance(end, Stopped) and not end.reported:
            _exit_with("stopped", 128 + end.signal)
        if isinstance(end.code, str):
            _exit_with(end.code)
        raise


def run_command(name: str, overrides: list[str]) -> tuple[Any, Any]:
    """Run one sub-command as a Hydra application.

    Returns:
        The composed config and the command's return value; None if Hydra only shows text.

    Raises:
        SystemExit: A user error, as one line, with the exception as its cause.
    """
    # Hydra then raises its errors instead of printing several lines and a traceback.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra

    from pets.cli.mistakes import check_flags, check_options, one_line
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
        check_flags(overrides, module.SCHEMA)
        check_options(overrides)
        find_own_modules(overrides)
        if not getattr(module, "SEVERAL_PROCESSES", False):
            check_single_process(name)
        elif {"-m", "--multirun"} & set(overrides):
            from pets.sweep.overrides import with_saved_overrides

            check_single_process("train -m")
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
    """Run a command; on a user error, remove the empty run directory.

    In a single run the error becomes a SystemExit, because Hydra prints its own line for other
    exceptions. In a sweep Hydra gets the error itself and continues with the other jobs.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from pets.cli.mistakes import one_line

    hydra = HydraConfig.get()
    try:
        _check_overrides(hydra.overrides.task)
        return module.run(cfg)
    except BaseException as error:
        _remove_empty_run_dir(Path(hydra.runtime.output_dir), hydra.job.name)
        line = one_line(error, name, module.SCHEMA)
        if line is None or hydra.mode == RunMode.MULTIRUN:
            raise
        raise SystemExit(line) from error


def _check_overrides(overrides: list[str]) -> None:
    """Refuse `key={}`: Hydra merges it into the existing value, so it would change nothing."""
    for override in overrides:
        if override.endswith("={}"):
            raise ConfigError(
                f"{override}: changes nothing, since Hydra merges it into the existing value; "
                f"to remove a key: ~{override.removesuffix('={}')}.<name>"
            )


def _remove_empty_run_dir(folder: Path, job: str) -> None:
    """Remove the log if nothing was logged, and the directory if it contains only the log.

    A command without a directory of its own has the one that it was called in.
    """
    if not ranks().writer or folder.resolve() == Path.cwd().resolve():
        return
    log = folder / f"{job}.log"
    with contextlib.suppress(OSError):
        if log.stat().st_size == 0 or list(folder.iterdir()) == [log]:
            log.unlink()
        folder.rmdir()


def _of_this_rank(overrides: list[str]) -> list[str]:
    """The overrides for Hydra. Only rank 0 has the run directory and the log file; the other ranks
    would create their own."""
    if ranks().writer:
        return overrides
    ours = ("hydra.run.dir=", "hydra/job_logging=")
    others = [override for override in overrides if not override.startswith(ours)]
    return [*others, "hydra.run.dir=.", "hydra/job_logging=rank"]


def _report_failed_thread(failed: threading.ExceptHookArgs) -> None:
    """Report an error in a library's thread, such as TensorBoard's writer, and continue."""
    line = system_error(failed.exc_value) if failed.exc_value else None
    if line is None:
        threading.__excepthook__(failed)
    else:
        print(line, file=sys.stderr)


def _exit_with(message: str, code: int = 1) -> NoReturn:
    with contextlib.suppress(PetsError):
        if code == 1 and not ranks().writer:
            # Rank 0 probably reports the same error, and this process ends when rank 0 does.
            time.sleep(_RANK_0_FIRST)
            message = f"rank {ranks().rank}: {message}"
    print(printable(message), file=sys.stderr)
    raise SystemExit(code)
