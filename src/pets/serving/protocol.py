"""HTTP connections that do not wait for ever: uvicorn's, with limits on silence and number."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pets.config import ServeLimits
from pets.io.serialize import to_json
from pets.serving.guard import HEADERS


def protocol(limits: ServeLimits) -> type[H11Protocol]:
    """The class of connections under these limits, for uvicorn's `http`."""
    return type("LimitedProtocol", (_Limited,), {"limits": limits})


class _Limited(H11Protocol):
    """uvicorn limits the silence between requests alone. Limited here: how long the head of a
    request takes, what comes after an early answer, and an answer that nobody reads."""

    limits: ServeLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._end(503, f"too busy: {self.limits.connections} connections; try again")
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._unfinished():
            self._watch()
        else:
            self._unwatch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size() or self._unfinished():
            self._watch()

    def shutdown(self) -> None:
        """Answers are waited for; not uploads that are still coming in."""
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.abort()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._end(400, "no readable HTTP request")

    def _unfinished(self) -> bool:
        """Whether something is to come from the client that the application does not wait for."""
        its = self.conn.their_state
        answered = self.conn.our_state in (h11.DONE, h11.MUST_CLOSE)
        return its is h11.IDLE or (its is h11.SEND_BODY and answered)

    def _watch(self) -> None:
        if self._overdue is None:
            self._overdue = self.loop.call_later(self.limits.seconds, self._too_slow)

    def _unwatch(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _too_slow(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.transport.get_write_buffer_size():
            seconds = f"{self.limits.seconds:g} seconds (limits.seconds)"
            self._end(408, f"the request's head took longer than {seconds}")
        else:
            self.transport.abort()

    def _end(self, status: int, line: str) -> None:
        """Answer outside of the application, and close."""
        body = to_json({"error": line}).encode()
        headers = {**HEADERS, "Content-Type": "application/json", "Content-Length": len(body)}
        head = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items())
        start = f"HTTP/1.1 {status} \r\n{head}connection: close\r\n\r\n"
        self.transport.write(start.encode() + body)
        self.transport.close()
