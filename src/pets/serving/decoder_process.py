"""The process that decodes uploaded photos; it may be killed at any time.

JSON lines and raw bytes over a socket, no pickles: a malicious photo that compromises the process
can send back nothing but pixels and one line of text.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import resource
import signal
import socket
from pathlib import Path
from typing import Any

import torch
from PIL import AvifImagePlugin, Image

from pets.data.images import TooManyPixels, UnreadableImage, decode_rgb
from pets.data.transforms import CentreCrop, to_tensor
from pets.io.serialize import to_json
from pets.system.orphans import end_with_maker

# The formats of cameras, phones and browsers. Pillow reads BMP and PPM in Python, which is slow,
# and TIFF may contain anything.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")

# Memory allowed beyond the process's initial size; a photo takes 15 bytes per pixel, or 25 with 16
# bits per channel.
_BYTES_PER_PIXEL, _SLACK_BYTES = 25, 128_000_000
_PER_MEGAPIXEL = 0.2  # extra share of `seconds` per megapixel
_UNKNOWN = "not a known format"  # part of the error for a file that is not an image


def run(connection: socket.socket, crop: CentreCrop) -> None:
    """Decode and crop photos until the server closes its end of the socket or dies.

    A photo gets `seconds` of CPU time, plus 20 % per megapixel; then SIGPROF kills the process.
    """
    end_with_maker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C and closes its end
    torch.set_num_threads(1)  # leave the cores to the network
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    initial = _data_size()
    with connection, connection.makefile("rwb") as stream:
        stream.write(b"ready\n")
        stream.flush()
        while line := stream.readline():
            request = json.loads(line)
            content = stream.read(request["bytes"])
            if initial is not None:
                limit = initial + _SLACK_BYTES + request["max_pixels"] * _BYTES_PER_PIXEL
                resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
            signal.setitimer(signal.ITIMER_PROF, request["seconds"])
            answer, pixels = _decode(content, crop, **request)
            signal.setitimer(signal.ITIMER_PROF, 0)
            stream.write(to_json(answer).encode() + b"\n" + pixels)
            stream.flush()


def _decode(
    content: bytes, crop: CentreCrop, name: str, max_pixels: int, seconds: float, **_: int
) -> tuple[dict[str, Any], bytes]:
    """Return the JSON answer, and the pixels for the network (3, h, w), uint8, as bytes."""
    too_large = {"error": f"{name}: takes too much memory to decode", "status": 413}
    try:
        if not content:
            raise UnreadableImage(f"{name}: is empty")
        _extend_time(content, max_pixels, seconds)
        pixels = to_tensor(decode_rgb(content, name, max_pixels, FORMATS))
        height, width = pixels.shape[1:]
        return {"height": height, "width": width}, crop(pixels).contiguous().numpy().tobytes()
    except (MemoryError, RuntimeError):  # torch raises RuntimeError when out of memory
        return too_large, b""
    except TooManyPixels as error:
        hint = " (limits.megapixels)" if str(error).endswith("megapixels") else ""
        return {"error": f"{error}{hint}", "status": 413}, b""
    except UnreadableImage as error:
        if isinstance(error.__cause__, MemoryError):
            return too_large, b""
        known = f"; expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        return {"error": f"{error}{known if _UNKNOWN in str(error) else ''}", "status": 400}, b""


def _extend_time(content: bytes, max_pixels: int, seconds: float) -> None:
    # Errors are ignored here: a file that is not an image is reported when it is decoded.
    with contextlib.suppress(Exception), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        share = min(math.prod(image.size), max_pixels) / 1e6 * _PER_MEGAPIXEL
        left, _ = signal.getitimer(signal.ITIMER_PROF)
        signal.setitimer(signal.ITIMER_PROF, left + seconds * share)


def _data_size() -> int | None:
    """Bytes in this process's data segment; None except on Linux, the only system where
    RLIMIT_DATA is enforced."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    return None
