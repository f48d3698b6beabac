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
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.integration import forked


@dataclass
class Served:
    """A server that is ready, at `url`; what it says goes to the files `out` and `err`."""

    process: Any
    url: str
    out: Path
    err: Path
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
        os.kill(self.process.pid, number)
        self.process.join(timeout=60)
        return self.process.exitcode


@contextmanager
def served(run: Path, folder: Path, *words: str) -> Iterator[Served]:
    """`pets serve run=<run> <words>` in a folder, at a free port, until the block ends."""
    out, err = (folder.with_name(f"{folder.name}.{name}") for name in ("out", "err"))
    process = forked.started(["serve", f"run={run}", "port=0", *words], folder, out, err)
    try:
        while "ready at " not in (said := out.read_text() if out.exists() else ""):
            assert process.is_alive(), said + err.read_text()
            time.sleep(0.05)
        url = said.split("ready at ")[1].split()[0]
        with httpx.Client(base_url=url, timeout=60) as client:
            yield Served(process, url, out, err, client)
    finally:
        process.kill()
        process.join()


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received
