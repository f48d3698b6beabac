"""What runs in the process of a job."""

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

# Imported once, by the process from which all jobs are forked.
PRELOAD = ["torch.utils.tensorboard", "torchvision", "pets.train"]

_GRACE = 60.0  # seconds for a job to finish its step and write its checkpoint


@dataclass(frozen=True)
class Slot:
    """One of several `slots` that share this machine's cores; a job at a time runs in each.

    `environment` is set in the job's process, for example which GPUs it sees.
    """

    slots: int
    environment: Mapping[str, str] = field(default_factory=dict)


def run_job(folder: str, trusted: bool, slot: Slot, log_config: Mapping[str, Any]) -> None:
    """Train in a prepared or stopped run directory, with all output in its `screen.log`.

    Ends the process with the exit code that `pets train` would have.
    """
    os.environ |= slot.environment
    _redirect_output(Path(folder) / "screen.log")
    _leave_signals_to_launcher()
    log_as_rank(log_config)
    from pets.system.devices import share_threads

    share_threads(slot.slots)
    train_in(RunDir.open(folder, trusted))


def log_as_rank(config: Mapping[str, Any]) -> None:
    """Configure the log of the run on rank 0; the other ranks show their errors alone."""
    if ranks().writer:
        logging.config.dictConfig(dict(config))
    else:
        logging.basicConfig(level=logging.ERROR, format=f"rank {ranks().rank}: %(message)s")


def train_in(run: RunDir) -> None:
    """Train in a prepared or stopped run directory. Raises SystemExit as `pets train` would."""
    from pets.commands.train import go_on

    try:
        go_on(run)
    except PetsError as error:
        logging.getLogger(__name__).error("%s", error)
        raise SystemExit(1) from None


def check_config(values: Mapping[str, Any]) -> None:
    """Check what a training checks before it reads data. Raises ConfigError."""
    from pets.training.checks import check_signatures
    from pets.training.trainer import quiet

    quiet()
    check_signatures(typed_values(TrainConfig, values))


def device_count() -> int:
    """The number of GPUs that torch sees."""
    import torch

    return torch.cuda.device_count()


def _redirect_output(file: Path) -> None:
    """Redirect standard output and error of this process and its children."""
    sys.stdout.flush()
    sys.stderr.flush()
    with file.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    options: Any = {"buffering": 1, "encoding": "utf-8", "errors": "backslashreplace"}
    sys.stdout = open(1, "w", closefd=False, **options)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, **options)  # noqa: SIM115


def _leave_signals_to_launcher() -> None:
    """Have Ctrl-C reach the launcher alone, which stops its jobs, and end when it is killed."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_maker(signal.SIGTERM, _GRACE)
