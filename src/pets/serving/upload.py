"""From a request to the photos in it, in memory alone."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pets.config import ServeLimits
from pets.serving.limits import Body, Held, Refusal

_EXPECTED = "expected multipart/form-data with files, or a photo as the body (image/*)"
_NAME = 80  # characters
_PARTS = 16  # form fields that are no file; they are ignored


@dataclass(frozen=True)
class Upload:
    """One photo as it was sent."""

    name: str
    content: bytes


async def read_uploads(request: Request, held: Held) -> list[Upload]:
    """The photos of a request: a form's files, or the body itself. Raises Refusal."""
    limits = held.gate.limits
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        read = _of_form
    elif kind == "application/octet-stream" or (kind.startswith("image/") and "svg" not in kind):
        read = _of_body
    else:
        raise Refusal(415, f"Content-Type {shortened(kind) or '(none)'}: {_EXPECTED}")
    body = Body(request, held)
    try:
        async with asyncio.timeout(limits.seconds):
            return await read(request, body, limits)
    except TimeoutError as error:
        line = f"the upload took longer than {limits.seconds:g} seconds (limits.seconds)"
        raise Refusal(408, line, ends=True) from error
    except Refusal as refusal:
        if refusal.ends:
            await body.drain()
        raise


def shortened(name: str) -> str:
    """A name that a client chose, fit for a line of text."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", "", name).strip()
    return plain if len(plain) <= _NAME else f"{plain[: _NAME - 3]}..."


async def _of_body(request: Request, body: Body, limits: ServeLimits) -> list[Upload]:
    return [Upload("photo", b"".join([chunk async for chunk in body]))]


async def _of_form(request: Request, body: Body, limits: ServeLimits) -> list[Upload]:
    parser = MultiPartParser(
        request.headers, aiter(body), max_files=limits.photos, max_fields=_PARTS
    )
    # Above it files go to the disk. The body is smaller, so that none does.
    parser.spool_max_size = int(limits.megabytes * 1e6) + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            line = f"more than {limits.photos} photos in one request (limits.photos)"
            raise Refusal(413, line, ends=True) from error
        raise Refusal(400, f"no readable form: {error.message}", ends=True) from error
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise Refusal(422, f"the form has no file; {_EXPECTED}")
    return [Upload(shortened(_base(f.filename)) or "photo", await f.read()) for f in files]


def _base(name: str | None) -> str:
    """Some clients send the whole path of a file."""
    return (name or "").replace("\\", "/").rpartition("/")[2]
