"""Loaders whose waits a signal may end, and whose processes leave signals to the training."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import parent_process
from typing import Any

from torch.utils.data import DataLoader

from pets.system.orphans import end_with_maker
from pets.system.signals import SIGNALS, waiting

_END = object()


class Loader(DataLoader[Any]):
    """A DataLoader in which the wait for a batch is a `stopping.waiting`."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            with waiting():
                batch = next(batches, _END)
            if batch is _END:
                return
            yield batch


def leave_signals(worker: int) -> None:
    """In a loader's process: only the process that it loads for ends it.

    A terminal, a shell and Slurm send a signal to all processes of a job. The training needs its
    loaders until it has come to a place where it may stop.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS; torch's own: any SIGTERM ends the process
        _leave_sigterm()
    end_with_maker()  # after that: its thread must leave SIGTERM, too


def _leave_sigterm() -> None:
    """Have SIGTERM end this process where the training sends it, and nobody else."""
    # Not getppid: a job of a sweep has its loaders started by a server of processes.
    training = parent_process()
    assert training is not None
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def watch() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training.pid:
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="sigterm").start()
