"""Around every answer: who may ask, strict headers, and the count."""

from __future__ import annotations

import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pets.serving.meters import Meters

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application around another one.

    With `hosts` only requests that name one of them are let in: a page of another site whose name
    is made to point here (DNS rebinding) would else read the answers. Nor may such a page send
    photos with its visitor's browser. `paths` are those that are counted by their name.
    """

    def __init__(
        self, app: ASGIApp, meters: Meters, paths: frozenset[str], hosts: frozenset[str] | None
    ) -> None:
        self._app, self._meters, self._paths, self._hosts = app, meters, paths, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        began = time.perf_counter()

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                self._meters.requests.labels(path, message["status"]).inc()
                self._meters.seconds.labels(path).observe(time.perf_counter() - began)
            await send(message)

        refusal = self._refused(Headers(scope=scope), scope["method"])
        await (refusal or self._app)(scope, receive, send_strictly)

    def _refused(self, headers: Headers, method: str) -> JSONResponse | None:
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            line = f"Host {host[:80]!r}: this server answers to {', '.join(sorted(self._hosts))}"
            return JSONResponse({"error": line}, 421)
        if method == "POST" and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return JSONResponse({"error": "a page of another site may not send photos here"}, 403)
        return None


def _name_of(host: str) -> str:
    """The name in a Host header, without the port: `[::1]:8000` is `[::1]`."""
    name, separator, port = host.rpartition(":")
    return (name if separator and port.isdigit() else host).lower()
