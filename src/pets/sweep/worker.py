"""The code that runs in the process of a job."""

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

# Imported once, in the process that all jobs are forked from.
PRELOAD = ["torch.utils.tensorboard", "torchvision", "pets.train"]

_GRACE = 60.0  # seconds for a job to finish its step and save its checkpoint


def run_job(
    folder: str,
    trusted: bool,
    slots: int,
    environment: Mapping[str, str],
    log_config: Mapping[str, Any],
) -> None:
    """Train in a prepared or stopped run directory, with all output in its `screen.log`.

    The job shares the machine's cores with `slots` - 1 others. Exits with the exit code that `pets
    train` would have.
    """
    os.environ |= environment
    _redirect_output(Path(folder) / "screen.log")
    # Ctrl-C reaches only the launcher, which stops its jobs; they also end if it is killed.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_maker(signal.SIGTERM, _GRACE)
    log_as_rank(log_config)
    from pets.system.devices import share_threads

    share_threads(slots)
    train_in(RunDir.open(folder, trusted))


def log_as_rank(config: Mapping[str, Any]) -> None:
    """Configure the run's log on rank 0; the other ranks log only errors."""
    if ranks().writer:
        logging.config.dictConfig(dict(config))
    else:
        logging.basicConfig(level=logging.ERROR, format=f"rank {ranks().rank}: %(message)s")


def train_in(run: RunDir) -> None:
    """Train in a prepared or stopped run directory. Raises SystemExit as `pets train` would."""
    from pets.commands.train import resume_run

    try:
        resume_run(run)
    except PetsError as error:
        logging.getLogger(__name__).error("%s", error)
        raise SystemExit(1) from None


def check_config(values: Mapping[str, Any]) -> None:
    """Run the checks that training does before it reads data. Raises ConfigError."""
    from pets.training.checks import check_signatures
    from pets.training.library_logs import silence_lightning

    silence_lightning()
    check_signatures(typed_values(TrainConfig, values))


def device_count() -> int:
    """Return the number of GPUs that are visible to torch."""
    import torch

    return torch.cuda.device_count()


def _redirect_output(file: Path) -> None:
    """Redirect standard output and error of this process and its children."""
    with file.open("ab") as stream:
        for number, name in ((1, "stdout"), (2, "stderr")):
            getattr(sys, name).flush()
            os.dup2(stream.fileno(), number)
            # Line-buffered, and robust to any characters in file names.
            text = open(  # noqa: SIM115
                number, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False
            )
            setattr(sys, name, text)
