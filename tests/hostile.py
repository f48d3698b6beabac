"""Uploads of few pixels that take long to decode."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

_SCAN = b"\xff\xda"


def many_scans(scans: int) -> bytes:
    """A progressive JPEG, each scan a few bytes that stand for all of the picture."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 90).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content[content.rindex(_SCAN) : -2]
    more = scans - content.count(_SCAN)
    return content[:-2] + last * more + content[-2:]


def many_markers(count: int) -> bytes:
    """A JPEG with many empty comments, each a turn in Pillow's Python."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    content = file.getvalue()
    return content[:2] + b"\xff\xfe\x00\x02" * count + content[2:]


def many_chunks(count: int) -> bytes:
    """The same as a PNG."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    content = file.getvalue()
    chunk = struct.pack(">I", 0) + b"quUx" + struct.pack(">I", zlib.crc32(b"quUx"))
    return content[:33] + chunk * count + content[33:]


def plain_pnm(size: int) -> bytes:
    """A bitmap of one pixel after many comments, which Pillow reads in a time that grows with
    their square."""
    return b"P1\n1 1\n" + b"#a\n" * (size // 3) + b"1"
