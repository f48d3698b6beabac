"""What a process does that was started for one job of a sweep."""

from __future__ import annotations

import logging.config
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pets.config import TrainConfig
from pets.config.validation import typed_values
from pets.distributed.ranks import ranks
from pets.errors import PetsError
from pets.run_dir import RunDir
from pets.system.orphans import end_with_maker

_PATIENCE = 60.0  # seconds for a job to come to the end of its step and write its checkpoint


@dataclass(frozen=True)
class Place:
    """Where on this machine a job runs: one of how many `places` that share the CPU cores, and what
    its environment says beside that, for example of GPUs."""

    places: int
    environment: Mapping[str, str] = field(default_factory=dict)


def run_job(folder: str, trusted: bool, place: Place, log_config: Mapping[str, Any]) -> None:
    """Train in a prepared or stopped run directory, with the screen in its `screen.log`.

    Ends the process: exit code 0 for a finished run, else as `pets train` would.
    """
    os.environ |= place.environment
    _screen_to(Path(folder) / "screen.log")
    _end_with_the_launcher()
    log_as_rank(log_config)
    from pets.system.devices import share_threads

    share_threads(place.places)
    train_in(RunDir.open(folder, trusted))


def log_as_rank(config: Mapping[str, Any]) -> None:
    """Rank 0 has the run's log; another one says only its errors."""
    here = ranks()
    if here.writer:
        logging.config.dictConfig(dict(config))
    else:
        logging.basicConfig(level=logging.ERROR, format=f"rank {here.rank}: %(message)s")


def train_in(run: RunDir) -> None:
    """Train in a prepared or stopped run directory. Raises SystemExit as `pets train` would."""
    from pets.commands.train import go_on

    try:
        go_on(run)
    except PetsError as error:
        logging.getLogger(__name__).error("%s", error)
        raise SystemExit(1) from None


def check_config(values: Mapping[str, Any]) -> None:
    """What a training checks before it reads data. Raises ConfigError."""
    from pets.training.checks import check_signatures
    from pets.training.trainer import quiet

    quiet()
    check_signatures(typed_values(TrainConfig, values))


def device_count() -> int:
    """GPUs that torch sees."""
    import torch

    return torch.cuda.device_count()


def _screen_to(file: Path) -> None:
    """Standard output and error of this process and of its children."""
    sys.stdout.flush()
    sys.stderr.flush()
    with file.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    options: Any = {"buffering": 1, "encoding": "utf-8", "errors": "backslashreplace"}
    sys.stdout = open(1, "w", closefd=False, **options)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, **options)  # noqa: SIM115


def _end_with_the_launcher() -> None:
    """Ctrl-C in the terminal is the launcher's affair, which stops its jobs; one that is killed
    takes them along."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_maker(signal.SIGTERM, _PATIENCE)
