"""What the ranks of one training tell each other beside gradients: what rank 0 decided, who waits
for whom, how each of them ended.

Rank 0 has a connection to every other rank. Waiting on one has no time limit, as the collectives of
a process group have, and a process that is killed closes its own: the others know at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pets.distributed.ranks import Ranks, ranks
from pets.distributed.rendezvous import meet, receive, send
from pets.errors import PetsError, RankError
from pets.system.os_errors import system_error

Value = TypeVar("Value")

_OWN_WORDS = 3.0  # for a rank that has the same error as another, to say it itself
_CAUSE = 2.0  # between a broken collective and the news of whose end broke it
_ENDING = 5.0  # for a rank to end in order after another one's end


class Wire:
    """This process's connections to the other ranks.

    Where another rank ends before the training does, a function is told of it, perhaps on a thread:
    `failed` or `interrupted`, and whose end it was in words; none where rank 0 says it itself.
    Some seconds later this process ends, whatever it is waiting for.
    """

    def __init__(self, here: Ranks) -> None:
        self.here = here
        self._on_loss: Callable[[str, str], None] = self._say
        self._store, self._peers = meet(here)
        self._inbox: dict[int, SimpleQueue[Any]] = {rank: SimpleQueue() for rank in self._peers}
        self._ended: set[int] = set()
        self._loss: tuple[str, str] | None = None
        self._mutex, self._told = threading.Lock(), False
        self._ending, self._closed = threading.Event(), False
        # Loaders' processes must not keep the connections of a killed rank open.
        os.register_at_fork(after_in_child=self._forget)
        for rank in self._peers:
            threading.Thread(target=self._listen, args=(rank,), daemon=True).start()

    def from_writer(self, value: Value) -> Value:
        """Rank 0's value, on every rank. Raises RankError where another rank has ended."""
        if not self.here.writer:
            return self._next(0)
        for rank in self._peers:
            self._send(rank, value)
        return value

    def gather(self, value: Value) -> list[Value]:
        """The values of all ranks, on every rank, in their order; returns when all have given
        theirs. Raises RankError where another rank has ended."""
        if not self.here.writer:
            self._send(0, value)
            return self._next(0)
        found = [value, *(self._next(rank) for rank in sorted(self._peers))]
        return self.from_writer(found)

    def tell_of_loss(self, tell: Callable[[str, str], None]) -> None:
        """Have another function told."""
        with self._mutex:
            self._on_loss, self._told = tell, False
        if self._loss is not None:
            self._tell()

    def cause(self, error: BaseException) -> bool:
        """Whether an error here follows from another rank's end; then that has been told, and this
        process has nothing to add."""
        self._ending.set()
        patience = 0.0 if isinstance(error, PetsError) else _CAUSE
        until = time.monotonic() + patience
        while self._loss is None and time.monotonic() < until:
            time.sleep(0.02)
        if self._loss is None:
            return False
        if self._loss[0] == "interrupted" and not isinstance(error, Exception):
            return False  # all were stopped by the same hand
        self._tell()
        return True

    def end(self, state: str, words: str = "") -> None:
        """Say goodbye: `finished`, `interrupted`, or `failed` and why.

        With an error of its own a rank lets rank 0 speak, and end first: torchrun stops all others
        when one ends.
        """
        self._ending.set()
        for rank in self._peers:
            with contextlib.suppress(OSError, RankError):
                self._send(rank, _End(state, words))
        if not self.here.writer and state != "finished":
            until = time.monotonic() + _OWN_WORDS + _CAUSE
            while 0 not in self._ended and self._loss is None and time.monotonic() < until:
                time.sleep(0.02)
        self._close()

    def _next(self, rank: int) -> Any:
        while True:
            with contextlib.suppress(Empty):
                return self._inbox[rank].get(timeout=0.2)
            if self._loss is not None:
                raise RankError(self._loss[1])

    def _send(self, rank: int, value: Any) -> None:
        try:
            send(self._peers[rank], value)
        except OSError as error:
            raise RankError(f"rank {rank} cannot be reached any more ({error})") from error

    def _listen(self, rank: int) -> None:
        """On a thread of its own: what a rank sends, until it ends."""
        try:
            while True:
                found = receive(self._peers[rank])
                if isinstance(found, _End):
                    break
                self._inbox[rank].put(found)
        except (OSError, EOFError, ValueError):
            found = None
        self._ended.add(rank)
        if self._closed or (found is not None and found.state == "finished"):
            return
        with self._mutex:
            if self._loss is not None:
                return
            if found is None:
                words = f"rank {rank} ended without a word: killed, or its machine is gone"
                self._loss = ("failed", words)
            else:
                self._loss = (found.state, f"rank {rank}: {found.words}" if found.words else "")
        # A rank that could still speak has perhaps the error that all have.
        if found is None or not self._ending.wait(_OWN_WORDS):
            self._tell()
        time.sleep(_ENDING)
        os._exit(1)

    def _tell(self) -> None:
        with self._mutex:
            if not self._told and self._loss is not None:
                self._told = True
                self._on_loss(*self._loss)

    def _say(self, state: str, words: str) -> None:
        if words:
            print(f"rank {self.here.rank}: {words}", file=sys.stderr)

    def _close(self) -> None:
        self._closed = True
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def _forget(self) -> None:
        """In a forked process: the connections are the other's."""
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                os.close(peer.detach())


class _End:
    """The last thing that a rank sends."""

    def __init__(self, state: str, words: str) -> None:
        self.state, self.words = state, words


_wire: Wire | None = None


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """The ranks of a training know of each other inside; one process alone is all there is.

    An error of any rank ends all of them: rank 0 says it with that rank's number, and raises its
    own; the others end at once and say nothing. Raises RankError where not all ranks come.
    """
    global _wire
    here = ranks()
    if here.world == 1:
        yield
        return
    _wire = wire = Wire(here)
    try:
        yield
        wire.end("finished")
    except BaseException as error:
        if here.writer or wire.cause(error):
            wire.end("failed" if isinstance(error, Exception) else "interrupted")
            if here.writer:
                raise
        elif isinstance(error, Exception):
            line = str(error) if isinstance(error, PetsError) else system_error(error)
            said = line or traceback.format_exc()
            wire.end("failed", said)
        else:
            wire.end("interrupted", "stopped from outside")
        # Not by way of the interpreter's end: there a process group waits for the others.
        sys.stderr.flush()
        code = error.code if isinstance(error, SystemExit) else 1
        os._exit(code if isinstance(code, int) else 1)
    finally:
        _wire = None


def from_writer(make: Callable[[], Value]) -> Value:
    """What rank 0's `make()` gives, on every rank; the others wait."""
    if _wire is None:
        return make()
    return _wire.from_writer(make() if _wire.here.writer else None)  # type: ignore[return-value]


def from_all(value: Value) -> list[Value]:
    """The values of all ranks, on every rank, in their order; it waits for all of them."""
    return [value] if _wire is None else _wire.gather(value)


def in_turn(make: Callable[[], Value]) -> Value:
    """`make()`, on one rank of each machine first, then on the others, who find what was made."""
    if _wire is None:
        return make()
    if _wire.here.leader:
        made = make()
        _wire.gather(None)
        return made
    _wire.gather(None)
    return make()


def same_on_all(what: str, value: Any) -> None:
    """Raises RankError on ranks that see another value than rank 0."""
    if _wire is None:
        return
    expected = _wire.gather(value)[0]
    if value != expected:
        raise RankError(
            f"{what}: {value} on {socket.gethostname()}, {expected} on rank 0; the machines of one "
            "training must see the same files"
        )


def lost(error: BaseException) -> bool:
    """Whether another rank's end is the cause of an error here, and has been told."""
    return _wire is not None and _wire.cause(error)


def on_loss(tell: Callable[[str, str], None]) -> None:
    """What to do when another rank ends too early, or has ended already; see `Wire`."""
    if _wire is not None:
        _wire.tell_of_loss(tell)
