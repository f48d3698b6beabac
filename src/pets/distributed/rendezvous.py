"""How the ranks of one training find each other: a connection from rank 0 to every other rank."""

from __future__ import annotations

import hmac
import pickle
import secrets
import socket
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from pets.distributed.ranks import Ranks
from pets.errors import RankError

_TOGETHER = 300.0  # seconds until all ranks must have started
_KEY = 32


def meet(here: Ranks) -> tuple[Any, dict[int, socket.socket]]:
    """torch's store, to be kept, since rank 0 serves it; and the connections by rank.

    Raises RankError.
    """
    from torch.distributed.rendezvous import rendezvous

    url = f"tcp://{here.address}:{here.port}?rank={here.rank}&world_size={here.world}"
    try:
        store = next(rendezvous(url, timeout=timedelta(seconds=_TOGETHER)))[0]
        found = _accept(here, store) if here.writer else {0: _connect(here, store)}
    except (RuntimeError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RankError(
            f"rank {here.rank} of {here.world} did not meet the others at {here.address}, port "
            f"{here.port}, within {_TOGETHER:.0f} s ({reason})"
        ) from error
    for peer in found.values():
        _keep_alive(peer)
    return store, found


def send(peer: socket.socket, value: Any) -> None:
    """A value for the other side's `receive`. Raises OSError where it has closed."""
    content = pickle.dumps(value)
    peer.sendall(len(content).to_bytes(8, "big") + content)


def receive(peer: socket.socket) -> Any:
    """What the other side sent. Raises EOFError where it has closed."""
    return pickle.loads(_exactly(peer, int.from_bytes(_exactly(peer, 8), "big")))


def _accept(here: Ranks, store: Any) -> dict[int, socket.socket]:
    found: dict[int, socket.socket] = {}
    key = secrets.token_bytes(_KEY)
    with _server(here) as server:
        store.set("pets", server.getsockname()[1].to_bytes(2, "big") + key)
        server.settimeout(_TOGETHER)
        while len(found) < here.world - 1:
            peer, _ = server.accept()
            peer.settimeout(_TOGETHER)
            if not hmac.compare_digest(_exactly(peer, _KEY), key):
                peer.close()  # none of us
                continue
            found[int.from_bytes(_exactly(peer, 4), "big")] = peer
            peer.settimeout(None)
    return found


def _server(here: Ranks) -> socket.socket:
    """Where the others come: at the address of the meeting alone. Of several machines, one whose
    name means itself alone (127.0.1.1 in Debian's /etc/hosts) listens at all of its addresses."""
    family, *_, address = socket.getaddrinfo(here.address, 0, type=socket.SOCK_STREAM)[0]
    host = str(address[0])
    if here.local_world < here.world and ip_address(host).is_loopback:
        host = ""
    return socket.create_server((host, 0), family=family)


def _connect(here: Ranks, store: Any) -> socket.socket:
    where = bytes(store.get("pets"))
    port = int.from_bytes(where[:2], "big")
    peer = socket.create_connection((here.address, port), timeout=_TOGETHER)
    peer.sendall(where[2:] + here.rank.to_bytes(4, "big"))
    peer.settimeout(None)
    return peer


def _keep_alive(peer: socket.socket) -> None:
    """A machine that is gone says nothing; half a minute without an answer is its end."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _exactly(peer: socket.socket, size: int) -> bytearray:
    """Raises EOFError where the other side has closed."""
    found = bytearray()
    while len(found) < size:
        part = peer.recv(min(size - len(found), 1 << 20))
        if not part:
            raise EOFError
        found += part
    return found
