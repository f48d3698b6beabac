"""The processes that load photos: how many, and how they handle signals."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from typing import Any, Literal

from pets.distributed.ranks import ranks
from pets.system.cpu import available_cores
from pets.system.orphans import end_with_maker
from pets.system.signals import SIGNALS


def worker_options(num_workers: int | Literal["auto"]) -> dict[str, Any]:
    """Return DataLoader's arguments for a number of workers; `auto` depends on the machine."""
    count = automatic_workers() if num_workers == "auto" else num_workers
    if not count:
        return {"num_workers": 0}
    return {
        "num_workers": count, "persistent_workers": True, "prefetch_factor": 4,
        "worker_init_fn": leave_signals,
    }  # fmt: skip


def automatic_workers() -> int:
    """Return the number of spare cores, up to 16; several ranks share the cores.

    Training alone keeps one or two cores busy, and more processes slow it down.
    """
    share = available_cores() // ranks().local_world
    return 0 if share <= 2 else min(share - 1, 16)


def leave_signals(worker: int) -> None:
    """Make a worker process end only together with the process it loads for.

    A terminal, a shell and Slurm send a signal to all processes of a job. Training needs its
    workers until the step after which it stops. DataLoader passes the `worker`'s index.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where any SIGTERM ends the process
        _take_sigterm_from_parent_only()
    end_with_maker()  # after that, as its thread must not take SIGTERM either


def _take_sigterm_from_parent_only() -> None:
    """End this process on SIGTERM from the training process; ignore it from others."""
    # Not getppid: the workers of a sweep's job are forked by the forkserver.
    training = parent_process()
    assert training is not None
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def watch() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training.pid:
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="sigterm").start()
