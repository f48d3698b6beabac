"""Open any image file as upright RGB, whatever its suffix."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar

import numpy as np
import simplejpeg
from PIL import Image, ImageFile, UnidentifiedImageError

from pets.data.metadata import DAMAGED, JPEG, PNG, turn_of, upright, without_metadata
from pets.errors import DataError

T = TypeVar("T")

# Decompression bombs are refused: 100 megapixels is above any camera's photo.
MAX_PIXELS = 100_000_000
# So is a very thin image: it grows to gigabytes when its shorter side is resized to a network's.
MAX_RATIO = 100
# A progressive JPEG has about ten scans; each passes over the whole picture, however few its bytes.
MAX_SCANS = 100
# Pillow reads a PNM in text form in Python, in a time that grows with the square of its comments.
MAX_PLAIN = 500_000
_SCANNED = 100_000_000  # bytes of a JPEG in which scans are counted
_SCAN = b"\xff\xda"
# Within a scan a byte of 255 is followed by 0 or by a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Otherwise Pillow refuses by its own limit before ours is checked.
Image.MAX_IMAGE_PIXELS = None

SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".gif",
        ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
    }
)  # fmt: skip
# Formats that are read. Pillow knows forty more, some of which start other programs.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")
HEIC = frozenset({".heic", ".heif", ".hif"})  # a phone's photos
if find_spec("pillow_heif"):
    import pillow_heif

    pillow_heif.register_heif_opener()
    SUFFIXES |= HEIC
    FORMATS += ("HEIF",)
# pets verify reports broken metadata once; Pillow would warn each time.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class UnreadableImage(DataError):
    """A file that is not an image, is damaged, truncated or too large."""


class TooManyPixels(UnreadableImage):
    """An image that needs too much memory."""


def open_rgb(path: Path | str, opened: Callable[[str], BinaryIO] | None = None) -> Image.Image:
    """Load a photo as an upright RGB image.

    The format is detected from the content, not from the name. The EXIF orientation is applied;
    transparent pixels become white; 16-bit and float greys are scaled to 8 bits, not clipped; an
    animation gives its first frame. `opened` opens a path that is not a local file.

    Raises:
        UnreadableImage: It cannot be read; the message names the file.
    """
    return _read(lambda: opened(str(path)) if opened else path, str(path), _decoded)


def open_pixels(path: Path | str, opened: Callable[[str], BinaryIO] | None = None) -> np.ndarray:
    """Like `open_rgb`, as an array: uint8 (height, width, 3).

    The pixels are the same; an upright JPEG takes less time, since libjpeg-turbo writes them
    directly to the array, not to an `Image` first.
    """
    return _read(lambda: opened(str(path)) if opened else path, str(path), _pixels)


def decode_rgb(
    content: bytes,
    name: str,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] = FORMATS,
) -> Image.Image:
    """Like `open_rgb`, from a file's content; `name` is used in errors."""
    decode = partial(_decoded, max_pixels=max_pixels)
    return _read(lambda: io.BytesIO(content), name, decode, formats)


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height in pixels, from the file's header. Raises UnreadableImage."""
    return _read(lambda: path, str(path), lambda image: image.size)


def _read(
    file: Callable[[], Path | str | BinaryIO],
    name: str,
    use: Callable[[Image.Image], T],
    formats: tuple[str, ...] = FORMATS,
) -> T:
    """Open an image, if need be without its damaged metadata, and return what `use` makes of it."""
    try:
        try:
            with Image.open(file(), formats=formats) as image:
                return use(image)
        except DAMAGED:
            with Image.open(_lean(file()), formats=formats) as image:
                return use(image)
    except FileNotFoundError as error:
        raise UnreadableImage(f"{name}: no such photo") from error
    except UnidentifiedImageError as error:
        why = "; ".join(filter(None, ("not a known format", hint(PurePath(name).suffix))))
        raise UnreadableImage(f"{name}: cannot be read as an image ({why})") from error
    except TooManyPixels as error:
        raise TooManyPixels(f"{name}: {error}") from error
    except (IsADirectoryError, PermissionError) as error:
        raise UnreadableImage(f"{name}: cannot be read ({error.strerror})") from error
    except Exception as error:  # for damaged files Pillow's readers raise anything
        reason = " ".join(str(error).split()).replace(repr(name), "it") or type(error).__name__
        raise UnreadableImage(f"{name}: cannot be read as an image ({reason})") from error


def _lean(file: Path | str | BinaryIO) -> BinaryIO:
    """The file without metadata; re-raises the current error if the format has no metadata."""
    with open(file, "rb") if isinstance(file, Path | str) else file as stream:  # noqa: PTH123
        start = stream.read(len(PNG))
        if not start.startswith((PNG, JPEG)):
            raise
        return io.BytesIO(without_metadata(start + stream.read()))


def _pixels(image: Image.Image) -> np.ndarray:
    _check_size(image.size, MAX_PIXELS)
    content = _check_effort(image)
    if image.format == "JPEG" and image.mode == "RGB" and turn_of(image) is None:
        # At any warning Pillow decides whether enough of the photo is there.
        with contextlib.suppress(ValueError):
            if simplejpeg.decode_jpeg_header(content)[:2] == (image.height, image.width):
                return simplejpeg.decode_jpeg(content)
    return np.array(_decoded(image))


def _decoded(image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
    _check_size(image.size, max_pixels)
    _check_effort(image)
    image.load()
    # The orientation is read before any conversion drops it.
    return _to_rgb(upright(image))


def hint(suffix: str) -> str:
    """Return what to install for files of this suffix; "" if nothing is missing."""
    return "pip install pillow-heif" if suffix.lower() in HEIC - SUFFIXES else ""


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"{width} x {height} pixels; expected at most {max_pixels / 1e6:g} megapixels"
        )
    if max(size) > MAX_RATIO * min(size):
        raise TooManyPixels(
            f"{width} x {height} pixels is no photo shape; expected at most {MAX_RATIO} to 1"
        )


def _check_effort(image: Image.Image) -> bytes:
    """Refuse images of few bytes and pixels that take minutes to decode. Returns a JPEG's bytes."""
    assert isinstance(image, ImageFile.ImageFile)
    assert image.fp is not None
    if image.format == "PPM" and image.tile[0].codec_name == "ppm_plain":
        size = image.fp.seek(0, io.SEEK_END)
        image.fp.seek(image.tile[0].offset)
        if size > MAX_PLAIN:
            raise UnreadableImage(
                f"a PNM of {size:,} bytes written as text may take minutes to read; save it as PNG"
            )
    content = b""
    if image.format in ("JPEG", "MPO"):
        at = image.fp.tell()
        image.fp.seek(0)
        content = image.fp.read(_SCANNED)
        image.fp.seek(at)
        # Data after the picture, as the video of a motion photo, may contain these bytes by chance.
        if content.count(_SCAN) > MAX_SCANS and (scans := _count_scans(content)) > MAX_SCANS:
            raise UnreadableImage(f"{scans} scans; expected at most {MAX_SCANS}")
    return content


def _count_scans(content: bytes) -> int:
    """Count the scans of a JPEG, without those of a thumbnail in its metadata."""
    scans, at = 0, 0
    while marker := _MARKER.search(content, at):
        at, kind = marker.end(), content[marker.end() - 1]
        if kind == 0xD9:  # the end
            break
        scans += kind == 0xDA
        if kind not in (0x01, 0xD8):  # all others have a length
            at += int.from_bytes(content[at : at + 2])
    return scans


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _wide_grey(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _wide_grey(image: Image.Image) -> Image.Image:
    """Scale 16-bit greys by their full range, 32-bit and float ones by their own range."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise UnreadableImage("pixels that are no numbers: NaN or infinity")
    if image.mode.startswith("I;16") or (image.mode == "I" and 255 < values.max() <= 65535):
        low, high = 0.0, 65535.0
    else:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(scaled.round().astype(np.uint8))
