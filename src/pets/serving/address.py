"""The address of a server; without torch, so that a busy port is said at once."""

from __future__ import annotations

import socket

from pets.errors import ConfigError


def bind(host: str, port: int) -> socket.socket:
    """The address for this process alone; who comes before it is served waits. Raises
    ConfigError."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(
            f"host={host}: no such address ({error.strerror}); 127.0.0.1 is this machine alone, "
            "0.0.0.0 lets the network in"
        ) from error
    found = socket.socket(family, kind, number)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
        # Else two servers could have it until they listen.
        found.listen()
    except OSError as error:
        found.close()
        raise ConfigError(
            f"port={port}: cannot be had at {host} ({error.strerror}); give another one, or port=0 "
            "for any that is free"
        ) from error
    return found
