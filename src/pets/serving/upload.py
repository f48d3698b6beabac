"""Read the photos of a request: limited in bytes and time, and only in memory."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from pets.config import ServeLimits
from pets.serving.metrics import HELD
from pets.serving.responses import Refusal

_EXPECTED = "expected multipart/form-data with files, or a photo as the body (image/*)"
_NAME = 80  # characters
_FIELDS = 16  # maximum number of form fields that are not files; they are ignored
_DRAIN_SECONDS = 2.0  # a client that sends too much reads the response only after sending it

Hold = Callable[[int], None]


@dataclass(frozen=True)
class Upload:
    """An uploaded photo."""

    name: str
    content: bytes


class Memory:
    """The memory budget shared by all requests."""

    def __init__(self, limit: float) -> None:
        self._limit, self._held = limit, 0

    @contextlib.contextmanager
    def share(self) -> Iterator[Hold]:
        """Yield a function that reserves bytes for a request until the block ends.

        It raises Refusal if all requests together would exceed the budget; a single request always
        fits.
        """
        own = 0

        def hold(count: int) -> None:
            nonlocal own
            if self._held != own and self._held + count > self._limit:
                raise Refusal(503, "too busy: other uploads fill the memory; try again", True)
            own += count
            self._held += count
            HELD.inc(count)

        try:
            yield hold
        finally:
            self._held -= own
            HELD.dec(own)


async def read_uploads(request: Request, limits: ServeLimits, hold: Hold) -> list[Upload]:
    """Read the photos of a request: the files of a form, or the body.

    Raises:
        Refusal: There is no photo, or too many, too large or too slow ones.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_photo = kind.startswith("image/") and "svg" not in kind
    stream = request.stream()
    try:
        async with asyncio.timeout(limits.seconds):
            body = _limited(request, stream, limits, hold)
            if kind == "multipart/form-data":
                return await _read_form(request, body, limits)
            if is_photo or kind == "application/octet-stream":
                return [Upload("photo", b"".join([chunk async for chunk in body]))]
            raise Refusal(415, f"Content-Type {kind[:_NAME] or '(none)'}: {_EXPECTED}")
    except TimeoutError as error:
        line = f"the upload took longer than {limits.seconds:g} seconds (limits.seconds)"
        raise Refusal(408, line, close=True) from error
    except Refusal as refusal:
        refusal.close = True
        if "expect" not in request.headers:  # otherwise the client has not sent the body yet
            await _drain(stream)
        raise


def shortened(name: str) -> str:
    """A client's file name without folders, made safe for one line of text."""
    name = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", "", name).strip()
    return plain if len(plain) <= _NAME else f"{plain[: _NAME - 3]}..."


async def _limited(
    request: Request, stream: AsyncGenerator[bytes, None], limits: ServeLimits, hold: Hold
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a body; raise Refusal at the first byte over the limit."""
    limit = int(limits.megabytes * 1e6)
    refusal = Refusal(413, f"the upload is larger than {limits.megabytes:g} MB (limits.megabytes)")
    if int(request.headers.get("content-length", "0")) > limit:
        raise refusal
    received = 0
    async for chunk in stream:
        received += len(chunk)
        if received > limit:
            raise refusal
        hold(len(chunk))
        yield chunk


async def _read_form(
    request: Request, body: AsyncGenerator[bytes, None], limits: ServeLimits
) -> list[Upload]:
    parser = MultiPartParser(request.headers, body, max_files=limits.photos, max_fields=_FIELDS)
    # Larger files would be spooled to disk; the body is smaller, so that none is.
    parser.spool_max_size = int(limits.megabytes * 1e6) + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            line = f"more than {limits.photos} photos in one request (limits.photos)"
            raise Refusal(413, line) from error
        raise Refusal(400, f"no readable form: {error.message}") from error
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise Refusal(422, f"the form has no file; {_EXPECTED}")
    return [Upload(shortened(f.filename or "") or "photo", await f.read()) for f in files]


async def _drain(stream: AsyncGenerator[bytes, None]) -> None:
    """Discard the rest of the body: a client cut off while sending never reads the response."""
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in stream:
                pass
