"""Signals that ask the process to stop: it ends at once, or as soon as nothing is lost by it.

SIGINT is Ctrl-C; SIGTERM, SIGUSR1 and SIGUSR2 are what batch systems send before they take the
machine away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
# Windows has but two of them.
SIGNALS = tuple(signal.Signals[name] for name in _NAMES if hasattr(signal, name))


class Stopped(SystemExit):
    """A signal asked the process to stop; its exit code is the shell's, 128 + the signal's number.

    What a run goes on from is on disk when a training raises this. `said`: the user has been told.
    """

    said = False

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(128 + number)


class When(Enum):
    """Where a signal ends the process."""

    AT_ONCE = auto()
    IN_WAITS = auto()  # at once inside `waiting`, elsewhere at the next `end_here`
    HERE = auto()  # at the next `end_here`


@dataclass
class _State:
    process: int = 0
    when: When = When.AT_ONCE
    waiting: bool = False
    asked: signal.Signals | None = None
    raised: bool = False


_state = _State()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Inside the block the first of the signals raises `Stopped`, by default at once; more of them
    change nothing, so that what is being written is written.

    A block inside a block is part of it. In another thread than the main one signals stay what they
    are, and so does a signal that the process was started to ignore, as Ctrl-C is in the background
    of a shell.
    """
    inside = _state.process == os.getpid()
    if inside or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    mine = [number for number in SIGNALS if before[number] != signal.SIG_IGN]
    _reset(os.getpid())
    for number in mine:
        signal.signal(number, _on_signal)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])
        _reset(0)


def end_when(when: When) -> None:
    """Where a signal ends the process from now on, until this is called again."""
    _state.when = when
    if when is When.AT_ONCE:
        end_here()


def asked() -> signal.Signals | None:
    """The signal that has come."""
    return _state.asked


def end_here(number: int = 0) -> None:
    """Raises Stopped where a signal has come, or where another process that takes part says the
    `number` of one."""
    number = number or _state.asked or 0
    if number and not _state.raised:
        _state.raised = True
        raise Stopped(number)


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """A wait that may be long and in which nothing is half done."""
    _state.waiting = True
    try:
        if _state.when is not When.HERE:
            end_here()
        yield
    finally:
        _state.waiting = False


def _on_signal(number: int, frame: object) -> None:
    if os.getpid() != _state.process:
        return  # a forked process; its parent decides when it ends
    _state.asked = _state.asked or signal.Signals(number)
    if _state.when is When.AT_ONCE or (_state.when is When.IN_WAITS and _state.waiting):
        end_here()


def _reset(process: int) -> None:
    vars(_state).update(vars(_State(process)))
