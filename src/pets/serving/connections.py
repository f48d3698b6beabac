"""uvicorn's HTTP connections, ended when no request comes in."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedConnection(H11Protocol):
    """A connection that ends where the head of its next request takes longer than `seconds`.

    uvicorn's own timeout begins after the first answer, and starts anew with every byte: without
    this one, clients that say nothing could hold all connections.
    """

    seconds: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(self.seconds, self.end_if_idle, None)

    def on_response_complete(self) -> None:
        answered = self.cycle
        super().on_response_complete()
        self.loop.call_later(self.seconds, self.end_if_idle, answered)

    def end_if_idle(self, last_request: Any) -> None:
        """End the connection, unless another request has begun."""
        if self.cycle is last_request:
            self.transport.abort()


def connections(seconds: float) -> type[TimedConnection]:
    """The class of connections with this timeout, for uvicorn's `http`."""
    return type("Connection", (TimedConnection,), {"seconds": seconds})
