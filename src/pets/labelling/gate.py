"""Who may use the page: a browser that was given the address with the token."""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
from hashlib import blake2b
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pets.cache.memo import cache_folder
from pets.errors import reason_of

log = logging.getLogger(__name__)
FOLDER = "label"  # of the cache


class Gate:
    """ASGI middleware that lets in only who has the token.

    The address that the command shows has it, and the browser keeps it as a cookie. Photos may be
    private, and other users share this machine.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token, self._cookie = app, token, f"pets-label-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if request.url.path == "/" and self._is_token(given):
            response: Response = RedirectResponse("./", 303)  # out of the address bar
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            await response(scope, receive, send)
        elif self._is_token(request.cookies.get(self._cookie, "")):
            await self._app(scope, receive, send)
        else:
            line = "only the address that pets label logs, with ?token=, lets a browser in"
            await JSONResponse({"error": line}, 403)(scope, receive, send)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


def token_of(table: Path, cache_dir: str) -> str:
    """Return the token of a table, so that tabs that are open work with the next server, too.

    It is in the user's cache, not in the run, which may be somebody else's.
    """
    name = blake2b(str(table.resolve()).encode(), digest_size=16).hexdigest()
    file = cache_folder(cache_dir) / FOLDER / f"{name}.token"
    token = secrets.token_urlsafe(24)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as stream:
                stream.write(token)
        # In a cache that several users share, a file of another one is a token that they know.
        if file.lstat().st_uid == os.getuid():
            token = file.read_text().strip() or token
    except OSError as error:
        reason = error.strerror or reason_of(error)
        log.info("%s: cannot be kept (%s); open tabs need the new address", file, reason)
    return token
