"""A socket, and uvicorn on it until the process is signalled."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Collection
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from pets.errors import ConfigError
from pets.serving.middleware import HEADERS, Guard, own_names

log = logging.getLogger(__name__)
_SHUTDOWN_SECONDS = 2  # for pending requests, after Ctrl-C


def bound(host: str, port: int) -> socket.socket:
    """Return a listening socket; connections queue until the server accepts them.

    Raises ConfigError if the address or the port cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise ConfigError(
            f"host={host}: no such address ({error.strerror}); 127.0.0.1 is only this machine, "
            "0.0.0.0 is reachable from the network"
        ) from error
    except OSError as error:
        # create_server adds the address to the reason.
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        raise ConfigError(
            f"port={port}: cannot be had at {host} ({reason}); give another one, or port=0 "
            "for any that is free"
        ) from error


def urls_of(sock: socket.socket) -> list[str]:
    """Return the addresses of the server, and warn if others can reach it."""
    host, port = sock.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if not address.is_loopback:
        log.warning("host=%s: everybody on the network can reach it", host)
    names = ["localhost", socket.gethostname()] if address.is_unspecified else [host]
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}/" for name in names]


def run_until_signalled(
    app: ASGIApp, sock: socket.socket, hosts: Collection[str], seconds: float, connections: int
) -> bool:
    """Serve an app, guarded against requests of other sites.

    Args:
        app: The app; its lifespan logs that it is ready.
        sock: A listening socket.
        hosts: Host names of this server besides the machine's own.
        seconds: To send the head of a request.
        connections: Maximum number of open ones.

    Returns:
        Whether it had started.
    """
    # The app logs its own errors; silence uvicorn's messages about requests cancelled on shutdown.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    running = uvicorn.Server(
        uvicorn.Config(
            Guard(app, own_names(hosts)),
            http=_connections(seconds),
            headers=list(HEADERS.items()),
            limit_concurrency=connections,
            ws="none",
            lifespan="on",
            log_config=None,  # Hydra has configured logging
            access_log=False,  # do not log file names: they may be private
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )
    running.run(sockets=[sock])
    return running.started


def _connections(seconds: float) -> type[H11Protocol]:
    class Connection(H11Protocol):
        """A connection that is closed if its next request head takes longer than `seconds`.

        uvicorn's own timeout starts only after the first response, and restarts with every byte:
        without this one, silent clients could hold all connections.
        """

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.loop.call_later(seconds, self.end_if_idle, None)

        def on_response_complete(self) -> None:
            answered = self.cycle
            super().on_response_complete()
            self.loop.call_later(seconds, self.end_if_idle, answered)

        def end_if_idle(self, last_request: Any) -> None:
            """Close the connection, unless another request has started."""
            if self.cycle is last_request:
                self.transport.abort()

    return Connection
