"""No process outlives the one that made it, not even where that one was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection, parent_process


def end_with_maker(first: signal.Signals | None = None, patience: float = 0.0) -> None:
    """In a process of multiprocessing, whatever started it: end it when its maker is gone.

    The maker's end of a pipe closes with it. Of several that were forked one after another, each
    keeps those before it open: they end in turn, the last one first.

    Args:
        first: a signal that asks this process to end in order.
        patience: seconds that it has for that.
    """
    maker = parent_process()
    assert maker is not None

    def watch() -> None:
        connection.wait([maker.sentinel])
        if first is not None:
            os.kill(os.getpid(), first)
            time.sleep(patience)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    threading.Thread(target=watch, daemon=True, name="watch of the maker").start()


# The same for the code of another interpreter, whose standard input is a `lifeline`.
END_WITH_MAKER = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
"""


@contextlib.contextmanager
def lifeline() -> Iterator[int]:
    """A standard input in which nothing comes, and which closes at the latest with this process."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)
