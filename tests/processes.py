"""Processes of a command that was started in a session of its own, for tests that kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def alive(session: int) -> list[int]:
    """The processes of a session that still run, whatever group they are in."""
    result = []
    for folder in Path("/proc").iterdir():
        try:
            state, _, _, its = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its) == session and state != "Z":
            result.append(int(folder.name))
    return result


def until(true: Callable[[], object], seconds: float = 120) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def kill(command: subprocess.Popen[str], seconds: float = 90) -> None:
    """Kill the command itself, and wait for all that it has started."""
    command.kill()
    command.wait()
    try:
        until(lambda: not alive(command.pid), seconds)
    finally:
        for process in alive(command.pid):
            os.kill(process, signal.SIGKILL)
