"""Middleware: reject cross-site requests and count all requests."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pets.serving.metrics import REQUESTS, SECONDS

HEADERS = {  # of every response
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


def own_names(hosts: Collection[str]) -> frozenset[str]:
    """The host names under which this server is reached: this machine's and the configured ones."""
    return frozenset(n.lower() for n in ("localhost", socket.gethostname(), *hosts))


def is_own_host(host: str, names: Collection[str]) -> bool:
    """Whether a Host header is one of the names or an IP address, with any port.

    Starlette's TrustedHostMiddleware accepts only fixed names. Any IP address is safe: only a name
    can be pointed at this server by an attacker.
    """
    with contextlib.suppress(ValueError):
        name = urlsplit(f"//{host}").hostname or ""
        return name in names or bool(ipaddress.ip_address(name))
    return False


class Guard:
    """ASGI middleware against DNS rebinding and cross-origin requests.

    Another site may make a browser send requests to this server: under its own host name, pointed
    at this server (DNS rebinding), or from its own origin. Both are rejected.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Counted by route, not by path: clients could send any number of paths.
                path = getattr(scope.get("route"), "path", "other")
                REQUESTS.labels(path, message["status"]).inc()
                SECONDS.labels(path).observe(time.perf_counter() - started)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_and_count)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if not is_own_host(host, self._names):
            names = ", ".join(sorted(self._names))
            line = f"Host {host[:80]!r}: this server answers to {names} and to IP addresses; "
            return JSONResponse({"error": f"{line}give other names with hosts=[...]"}, 421)
        # Browsers send Origin with all cross-origin requests except plain loads such as images.
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            line = f"Origin {origin[:80]!r}: a page of another site may not ask here"
            return JSONResponse({"error": line}, 403)
        return None
