"""The process that decodes photos of strangers: one that may be killed at any moment.

It speaks through a socket: a line of JSON and bytes each way, so that whatever takes it over can
hand nothing but pixels and a line of text to the server.
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

# What cameras, phones and browsers write. Pillow reads BMP and PPM in Python, and of what TIFF
# may contain there is no end.
SERVED = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")

# Memory on top of what the process has at first; photos take 15 bytes a pixel, of 16 bits 25.
_BYTES_PER_PIXEL, _ROOM = 25, 128_000_000
_PER_MEGAPIXEL = 0.2  # of `seconds`, for each


def run(connection: socket.socket, crop: CentreCrop) -> None:
    """Decode and shrink photos until the server closes its end, or is gone.

    A photo has the `seconds` of CPU time that the server says, and a fifth more for each megapixel
    that its header says; then the system ends the process (SIGPROF).
    """
    end_with_maker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which closes its end
    torch.set_num_threads(1)  # the network has all cores
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    own = _own_memory()
    with connection, connection.makefile("rwb") as stream:
        stream.write(b"ready\n")
        stream.flush()
        while line := stream.readline():
            asked = json.loads(line)
            content = stream.read(asked["bytes"])
            if own is not None:
                most = own + _ROOM + asked["max_pixels"] * _BYTES_PER_PIXEL
                resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
            signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
            answer, pixels = _decoded(
                content, asked["name"], asked["max_pixels"], asked["seconds"], crop
            )
            signal.setitimer(signal.ITIMER_PROF, 0)
            stream.write(to_json(answer).encode() + b"\n" + pixels)
            stream.flush()


def _decoded(
    content: bytes, name: str, max_pixels: int, seconds: float, crop: CentreCrop
) -> tuple[dict[str, Any], bytes]:
    """What is said of a photo, and the pixels that the network is given, uint8 (3, h, w)."""
    try:
        if not content:
            raise UnreadableImage(f"{name}: is empty")
        _more_time(content, max_pixels, seconds)
        pixels = to_tensor(decode_rgb(content, name, max_pixels, SERVED))
        height, width = pixels.shape[1:]
        return {"height": height, "width": width}, crop(pixels).contiguous().numpy().tobytes()
    except (UnreadableImage, MemoryError, RuntimeError) as error:  # torch's is the last one
        if isinstance(error, UnreadableImage) and not isinstance(error.__cause__, MemoryError):
            return {"error": str(error), "large": isinstance(error, TooManyPixels)}, b""
        return {"error": f"{name}: takes too much memory to decode", "large": True}, b""


def _more_time(content: bytes, max_pixels: int, seconds: float) -> None:
    # What is no image says so when it is decoded.
    with contextlib.suppress(Exception), Image.open(io.BytesIO(content), formats=SERVED) as image:
        share = min(math.prod(image.size), max_pixels) / 1e6 * _PER_MEGAPIXEL
        left, _ = signal.getitimer(signal.ITIMER_PROF)
        signal.setitimer(signal.ITIMER_PROF, left + seconds * share)


def _own_memory() -> int | None:
    """What this process has asked for, in bytes; only Linux says so, and limits it."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    return None
