"""The address of a server. Imports no torch, so that a busy port is reported at once."""

from __future__ import annotations

import ipaddress
import socket

from pets.errors import ConfigError


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address, for this process alone; connections wait until it is served.

    Raises:
        ConfigError: There is no such address, or the port is taken.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(
            f"host={host}: no such address ({error.strerror}); 127.0.0.1 is this machine alone, "
            "0.0.0.0 lets the network in"
        ) from error
    server = socket.socket(family, kind, number)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(address)
        server.listen()  # without it, two servers could have the address
    except OSError as error:
        server.close()
        raise ConfigError(
            f"port={port}: cannot be had at {host} ({error.strerror}); give another one, or port=0 "
            "for any that is free"
        ) from error
    return server


def is_local(server: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(server.getsockname()[0]).is_loopback


def urls(server: socket.socket) -> list[str]:
    """What to type to reach it: on this machine, then elsewhere."""
    host, port = server.getsockname()[:2]
    address = ipaddress.ip_address(host)
    hosts = ["localhost", _network_address()] if address.is_unspecified else [host]
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}/" for name in hosts]


def _network_address() -> str:
    """This machine's address in its network, or its name where it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: an address for documentation
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
