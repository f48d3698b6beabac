"""A real `pets serve`, and raw connections to it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.integration import forked


@dataclass
class Served:
    """A server that is ready, at `url`."""

    running: forked.Running
    url: str
    client: httpx.Client

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def raw(self, *parts: bytes) -> socket.socket:
        """A connection on which these have been sent."""
        connection = socket.create_connection(self.address, timeout=30)
        for part in parts:
            connection.sendall(part)
        return connection

    def stop(self, number: signal.Signals) -> int:
        """Its exit code."""
        process = self.running.process
        os.kill(self.running.pid, number)
        process.join(timeout=60)
        assert process.exitcode is not None
        return process.exitcode


@contextmanager
def served(run: Path, folder: Path, *args: str, command: str = "serve") -> Iterator[Served]:
    """`pets serve run=<run> <words>` in a folder, at a free port, until the block ends; or another
    command that serves a page."""
    running = forked.Running([command, f"run={run}", "port=0", *args], folder)
    process, out, err = running.process, running.out, running.err
    try:
        while "ready at " not in (output := out.read_text() if out.exists() else ""):
            assert process.is_alive(), output + err.read_text()
            time.sleep(0.05)
        url = output.split("ready at ")[1].split()[0]
        with httpx.Client(base_url=url.partition("?")[0], timeout=60) as client:
            yield Served(running, url, client)
    finally:
        process.kill()
        process.join()


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received
