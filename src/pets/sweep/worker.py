"""What runs in the process of a job."""

from __future__ import annotations

import logging.config
import os
import signal
import sys
from collections.abc import Mapping
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


def run_job(
    folder: str,
    trusted: bool,
    slots: int,
    environment: Mapping[str, str],
    log_config: Mapping[str, Any],
) -> None:
    """Train in a prepared or stopped run directory, with all output in its `screen.log`.

    One of several `slots` that share this machine's cores. Ends the process with the exit code that
    `pets train` would have.
    """
    os.environ |= environment
    _redirect_output(Path(folder) / "screen.log")
    # Ctrl-C reaches the launcher alone, which stops its jobs; they end where it is killed.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_maker(signal.SIGTERM, _GRACE)
    log_as_rank(log_config)
    from pets.system.devices import share_threads

    share_threads(slots)
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
    from pets.training.trainer import silence_lightning

    silence_lightning()
    check_signatures(typed_values(TrainConfig, values))


def device_count() -> int:
    """The number of GPUs that torch sees."""
    import torch

    return torch.cuda.device_count()


def _redirect_output(file: Path) -> None:
    """Redirect standard output and error of this process and its children."""
    with file.open("ab") as stream:
        for number, name in ((1, "stdout"), (2, "stderr")):
            getattr(sys, name).flush()
            os.dup2(stream.fileno(), number)
            # Line by line, and whatever the characters of a file's name.
            text = open(  # noqa: SIM115
                number, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False
            )
            setattr(sys, name, text)
