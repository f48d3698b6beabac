"""The address and the names of a server; without torch, so that a busy port is said at once."""

from __future__ import annotations

import contextlib
import ipaddress
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


class OwnNames:
    """The names of a server in a Host header, in any case and with any port.

    One at a loopback address is this machine's `localhost`. One that the network reaches is this
    machine's name, too, and any address: only a name can be made to point here by others. `more`
    are further names.
    """

    def __init__(self, at: socket.socket, more: list[str]) -> None:
        self._local = is_local(at)
        own = () if self._local else (socket.gethostname(), socket.getfqdn())
        self._names = {name.lower() for name in ("localhost", *own, *more)}

    def __contains__(self, host: str) -> bool:
        name, separator, port = host.rpartition(":")
        name = (name if separator and port.isdigit() else host).lower()
        if name in self._names:
            return True
        # In a Host header an address of version 6 has brackets.
        bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
        if (":" in bare) != (bare != name):
            return False
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(bare)
            return not self._local or str(address) in ("127.0.0.1", "::1")
        return False

    def __str__(self) -> str:
        addresses = ["127.0.0.1", "[::1]"] if self._local else ["its addresses"]
        names = ", ".join(sorted(self._names) + addresses)
        return f"{names}; give other names with hosts=[...]"


def is_local(at: socket.socket) -> bool:
    """Whether this machine alone reaches it."""
    return ipaddress.ip_address(at.getsockname()[0]).is_loopback


def urls(at: socket.socket) -> list[str]:
    """What to type to reach it: on this machine, then elsewhere."""
    host, port = at.getsockname()[:2]
    address = ipaddress.ip_address(host)
    hosts = ["localhost", _outward()] if address.is_unspecified else [host]
    return [f"http://{f'[{name}]' if ':' in name else name}:{port}/" for name in hosts]


def _outward() -> str:
    """This machine's address in its network, or its name where it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # nothing is sent: an address for documentation
        except OSError:
            return socket.gethostname()
        return str(asking.getsockname()[0])
