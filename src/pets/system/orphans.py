"""End child processes with their parent, even if the parent is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection, parent_process


def end_with_maker(first: signal.Signals | None = None, patience: float = 0.0) -> None:
    """End this process of multiprocessing when its parent is gone.

    The parent's end of a pipe closes with it. Forked processes hold the pipes of earlier ones
    open, so they end one after another, the last one first.

    Args:
        first: a signal to send to this process first, so that it can shut down cleanly.
        patience: seconds to wait after that signal.
    """

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        connection.wait([parent.sentinel])
        if first is not None:
            os.kill(os.getpid(), first)
            time.sleep(patience)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    threading.Thread(target=watch, daemon=True, name="watch of the maker").start()


# The same as source code for another interpreter, whose standard input is a `lifeline`.
END_WITH_MAKER = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
"""


@contextlib.contextmanager
def lifeline() -> Iterator[int]:
    """Yield an empty standard input for a child, which closes when this process ends."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)
