"""Around every answer: who may ask, strict headers, and the count."""

from __future__ import annotations

import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pets.serving.address import OwnNames
from pets.serving.meters import Meters

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none, some browsers send `Origin: null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application around another one.

    Only requests that name this server are let in: a page of another site whose name is made to
    point here (DNS rebinding) would else read the answers. Nor may such a page send photos with its
    visitor's browser. `paths` are those that are counted by their name.
    """

    def __init__(
        self, app: ASGIApp, meters: Meters, paths: frozenset[str], names: OwnNames
    ) -> None:
        self._app, self._meters, self._paths, self._names = app, meters, paths, names

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
        if host not in self._names:
            line = f"Host {host[:80]!r}: this server answers to {self._names}"
            return JSONResponse({"error": line}, 421)
        if method == "POST" and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return JSONResponse({"error": "a page of another site may not send photos here"}, 403)
        # Browsers leave Sec-Fetch-Site out towards plain http; Origin they send all the same.
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            line = f"Origin {origin[:80]!r}: a page of another site may not ask here"
            return JSONResponse({"error": line}, 403)
        return None
