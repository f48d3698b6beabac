"""What is refused: too large, too slow, too many; each with a status and one plain line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from pets.config import ServeLimits

_DRAINED = 2.0  # seconds; who sends too much reads the answer only after sending it


class Refusal(Exception):
    """A request or a photo that gets no answer but this line. `ends`: its connection is closed."""

    def __init__(self, status: int, line: str, ends: bool = False) -> None:
        super().__init__(line)
        self.status, self.line, self.ends = status, line, ends

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the status."""
        headers = {"Retry-After": "1"} if self.status == 503 else {}
        return headers | ({"Connection": "close"} if self.ends else {})


@dataclass
class Held:
    """The bytes that one request holds, counted by its gate."""

    gate: Gate
    bytes: int = 0

    def add(self, count: int) -> None:
        """Raises Refusal where all requests together would hold too much."""
        alone = self.gate.bytes == self.bytes  # a single request fits
        if not alone and self.gate.bytes + count > self.gate.limits.held_megabytes * 1e6:
            raise Refusal(503, "too busy: other uploads fill the memory; try again", ends=True)
        self.bytes += count
        self.gate.bytes += count


class Gate:
    """How many requests are inside, and how many bytes they hold together."""

    def __init__(self, limits: ServeLimits) -> None:
        self.limits, self.inside, self.bytes = limits, 0, 0

    @contextlib.contextmanager
    def enter(self) -> Iterator[Held]:
        """For as long as a request is worked on. Raises Refusal where there is no room."""
        if self.inside >= self.limits.requests:
            raise Refusal(503, f"too busy: {self.inside} requests are being answered; try again")
        held = Held(self)
        self.inside += 1
        try:
            yield held
        finally:
            self.inside -= 1
            self.bytes -= held.bytes


class Body:
    """A request's body as it comes in; iterating raises Refusal where it is too large, at the first
    byte over."""

    def __init__(self, request: Request, held: Held) -> None:
        self._request, self._held, self._chunks = request, held, request.stream()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        limits = self._held.gate.limits
        most = int(limits.megabytes * 1e6)
        line = f"the upload is larger than {limits.megabytes:g} MB (limits.megabytes)"
        if int(self._request.headers.get("content-length", "0")) > most:
            raise Refusal(413, line, ends=True)
        received = 0
        async for chunk in self._chunks:
            received += len(chunk)
            if received > most:
                raise Refusal(413, line, ends=True)
            self._held.add(len(chunk))
            yield chunk

    async def drain(self) -> None:
        """Throw away what still comes: a connection that is closed on a sender loses the answer."""
        if "expect" in self._request.headers:
            return  # who asks first has sent nothing yet
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(_DRAINED):
                async for _ in self._chunks:
                    pass
