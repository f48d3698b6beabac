"""Signals that ask the process to stop: at once, or deferred until a critical section is done.

SIGINT is Ctrl-C; SIGTERM, SIGUSR1 and SIGUSR2 are sent by batch systems before they end a job.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# Seconds after which a second signal is no longer deferred: the next step may never end, for
# example if a data loader hangs. Shells and batch systems send some signals twice at once.
PATIENCE = 10.0


class Stopped(SystemExit):
    """A signal asked the process to stop; as in a shell, the exit code is 128 + its number."""

    reported = False  # whether it has been logged

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(128 + number)


@dataclass
class _State:
    process: int = 0  # the process that handles signals; 0 outside of `stoppable`
    deferring: bool = False
    received: signal.Signals | None = None
    received_at: float = 0.0
    stopped: bool = False


_state = _State()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Inside the block the first signal raises `Stopped`, and further ones change nothing.

    A nested block is part of the outer one. Only the main thread handles signals, and a signal that
    the process was started to ignore stays ignored, such as Ctrl-C in a background job.
    """
    global _state
    if _state.process == os.getpid() or not _in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _state = _State(os.getpid())
    take_signals()
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])
        _state = _State()


def take_signals() -> None:
    """Reinstall the handlers of `stoppable` after a library has installed its own."""
    if _state.process == os.getpid() and _in_main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _on_signal)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside the block a signal only sets a flag; at its end `Stopped` is raised."""
    defer()
    try:
        yield
    finally:
        end_deferral()
    if _state.received:
        stop(_state.received)


def defer() -> None:
    """From now on a signal only sets the flag that `received` reads."""
    _state.deferring = True


def end_deferral() -> None:
    """From now on a new signal raises `Stopped` at once; one already received does not."""
    _state.deferring = False


def received() -> signal.Signals | None:
    """The first signal since `stoppable` was entered."""
    return _state.received


def stop(number: int) -> None:
    """Raise `Stopped` for a signal of this or another process, unless it was raised before."""
    if not _state.stopped:
        _state.stopped = True
        raise Stopped(number)


def _on_signal(number: int, frame: object) -> None:
    if os.getpid() != _state.process:
        return  # a forked process; its parent ends it
    now = time.monotonic()
    if _state.received is None:
        _state.received, _state.received_at = signal.Signals(number), now
        if _state.deferring:
            return
    elif _state.deferring and now - _state.received_at < PATIENCE:
        return
    stop(_state.received)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
