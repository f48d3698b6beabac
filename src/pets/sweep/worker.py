"""The code that runs in the process of a job."""

from __future__ import annotations

import contextlib
import gc
import logging.config
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
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


def run_jobs(jobs: Connection, slots: int, environment: Mapping[str, str]) -> None:
    """Train in prepared or stopped run directories, one after another.

    They arrive from `jobs`. All output goes to each one's `screen.log`.

    A job is a run's folder, whether it is trusted, and its logging. They share the machine's cores
    with `slots` - 1 other processes. A run that does not finish ends the process, with the exit
    code that `pets train` would have; every other one is answered.
    """
    os.environ |= environment
    # Ctrl-C reaches only the launcher, which stops its jobs; they also end if it is killed.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_maker(signal.SIGTERM, _GRACE)
    gc.freeze()  # what was imported is not searched for garbage after every run
    shared = False
    for folder, trusted, log_config in _arriving(jobs):
        _redirect_output(Path(folder) / "screen.log")
        log_as_rank(log_config)
        if not shared:
            from pets.system.devices import share_threads

            share_threads(slots)
            shared = True
        run = RunDir.open(folder, trusted)
        train_in(run)
        run.release()
        del run
        gc.collect()  # the objects of Lightning refer to each other


def _arriving(jobs: Connection) -> Iterator[tuple[str, bool, Mapping[str, Any]]]:
    """Yield jobs until there are no more, and answer each that is done."""
    with contextlib.suppress(EOFError, OSError):  # the other end is closed
        while True:
            yield jobs.recv()
            jobs.send(None)


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
    """Run the checks that training does before it reads data. Raises PetsError.

    Photos, lists and weights have to be there, too: without them every run would fail by itself.
    """
    from pets.data.collect import check_there
    from pets.models.weights import check_weights_there
    from pets.training.checks import check_signatures
    from pets.training.library_logs import silence_lightning

    silence_lightning()
    config = typed_values(TrainConfig, values)
    check_signatures(config)
    if config.data.prepare is None or Path(config.data.root).exists():
        check_there(config.data)
    check_weights_there(config.model)


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
