"""Open any image file as RGB, by its content and the way up it was taken."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from pets.errors import DataError

# A decompression bomb is refused: 100 megapixels is above any camera's photo.
MAX_PIXELS = 100_000_000
# So is a needle, which grows to gigabytes when its shorter side is resized to a network's.
MAX_RATIO = 100
# Pillow would refuse by a limit of its own, before ours is looked at.
Image.MAX_IMAGE_PIXELS = None

SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".gif",
        ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
    }
)  # fmt: skip
# What these may contain. Pillow knows forty more formats, some of which start other programs.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")
HEIC = frozenset({".heic", ".heif", ".hif"})  # a phone's photos
if find_spec("pillow_heif"):
    import pillow_heif

    pillow_heif.register_heif_opener()
    SUFFIXES |= HEIC
    FORMATS += ("HEIF",)
# Broken metadata is no matter here: pets verify speaks of it once, Pillow would each time.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# What Pillow raises of metadata; of pixels it raises OSError.
_METADATA = (ValueError, SyntaxError, UnidentifiedImageError)
_ORIENTATION = ExifTags.Base.Orientation
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(DataError):
    """A file that is no image, is damaged, cut short or too large."""


class TooManyPixels(UnreadableImage):
    """An image that would take too much memory."""


def open_rgb(path: Path | str, opened: Callable[[str], BinaryIO] | None = None) -> Image.Image:
    """The photo as a loaded RGB image, upright. `opened` opens one that is no local file.

    The format is found from the content, not from the name. The EXIF orientation is applied;
    transparent pixels become white; 16-bit and float greys are scaled to 8 bits, not clipped; of
    an animation the first frame is taken. Raises UnreadableImage, naming the file.
    """
    return _opened(lambda: opened(str(path)) if opened else path, str(path), MAX_PIXELS)


def decode_rgb(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """As `open_rgb`, from a file's content; `name` is what errors call it."""
    return _opened(lambda: io.BytesIO(content), name, max_pixels)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height in pixels from the file's header. Raises UnreadableImage."""
    try:
        try:
            with Image.open(path, formats=FORMATS) as image:
                return image.size
        except _METADATA:
            with Image.open(_lean(path), formats=FORMATS) as image:
                return image.size
    except (OSError, ValueError, SyntaxError) as error:
        raise UnreadableImage(
            f"{path}: cannot be read as an image; data.on_bad_image=skip leaves it out"
        ) from error


def _opened(file: Callable[[], Path | str | BinaryIO], name: str, max_pixels: int) -> Image.Image:
    try:
        try:
            return _decoded(file(), max_pixels)
        except _METADATA:
            return _decoded(_lean(file()), max_pixels)
    except FileNotFoundError as error:
        raise UnreadableImage(f"{name}: no such photo") from error
    except UnidentifiedImageError as error:
        missing = hint(PurePath(name).suffix)
        why = f"; {missing}" if missing else ""
        raise UnreadableImage(
            f"{name}: cannot be read as an image (not a known format{why})"
        ) from error
    except TooManyPixels as error:
        raise TooManyPixels(f"{name}: {error}") from error
    except (IsADirectoryError, PermissionError) as error:
        raise UnreadableImage(f"{name}: cannot be read ({error.strerror})") from error
    except Exception as error:  # of damaged files Pillow's readers raise every kind
        reason = " ".join(str(error).split()).replace(repr(name), "it")
        reason = reason or type(error).__name__
        raise UnreadableImage(f"{name}: cannot be read as an image ({reason})") from error


def _decoded(file: Path | str | BinaryIO, max_pixels: int) -> Image.Image:
    with Image.open(file, formats=FORMATS) as image:
        _check_size(image.size, max_pixels)
        image.load()
        # The orientation is read before any conversion drops it.
        return _to_rgb(_upright(image))


def _lean(file: Path | str | BinaryIO) -> BinaryIO:
    """The file without metadata. Raises the error that is being handled where it can have none."""
    with open(file, "rb") if isinstance(file, Path | str) else file as stream:  # noqa: PTH123
        start = stream.read(len(_PNG))
        if not start.startswith((_PNG, _JPEG)):
            raise
        return io.BytesIO(without_metadata(start + stream.read()))


def hint(suffix: str) -> str:
    """What would read files that end like this; empty where nothing is missing for them."""
    missing = suffix.lower() in HEIC - SUFFIXES
    return "pip install pillow-heif" if missing else ""


def without_metadata(content: bytes) -> bytes:
    """A PNG or JPEG without what says nothing of its pixels: texts, profiles, damaged pieces. Any
    other file as it is."""
    if content.startswith(_PNG):
        return _png_without(content)
    return _jpeg_without(content) if content.startswith(_JPEG) else content


def _png_without(content: bytes) -> bytes:
    kept, at = [_PNG], len(_PNG)
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4])
        kind, chunk = content[at + 4 : at + 8], content[at:end]
        turned = kind == b"eXIf" and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if kind[:1].isupper() or kind == b"tRNS" or turned:
            kept.append(chunk)
        at = end
    return b"".join(kept)


def _jpeg_without(content: bytes) -> bytes:
    kept, at = [content[:2]], 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] not in (b"", b"\xda"):
        kind, end = content[at + 1], at + 2 + int.from_bytes(content[at + 2 : at + 4])
        # JFIF and Adobe say what the colours are, where they are whole.
        colours = kind in (0xE0, 0xEE) and end - at >= 16
        turned = kind == 0xE1 and content[at + 4 : at + 8] == b"Exif"
        if colours or turned or not (0xE0 <= kind <= 0xEF or kind == 0xFE):
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]])


def exif_problem(image: Image.Image) -> str | None:
    """What is wrong with the EXIF of an image; None where there is none, or it can be read."""
    try:
        exif = image.getexif()
    except Exception as error:
        return f"its EXIF cannot be read ({' '.join(str(error).split())[:80]})"
    turned = exif.get(_ORIENTATION, 1)
    if image.info.get("exif") and not len(exif):
        return "its EXIF cannot be read"
    if turned != 1 and turned not in _TURNS:
        return f"the orientation in its EXIF is {turned!r}; expected 1 to 8"
    return None


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says; as it is where that says nothing that makes sense."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # of broken EXIF Pillow's readers raise every kind
        return image
    return image if turn is None else image.transpose(turn)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"{width} x {height} pixels; expected at most {max_pixels / 1e6:g} megapixels"
        )
    if max(size) > MAX_RATIO * min(size):
        raise TooManyPixels(
            f"{width} x {height} pixels are no photo's shape; expected at most {MAX_RATIO} to 1"
        )


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
    """16-bit greys by their full scale; 32-bit and float ones by their own range."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode.startswith("I;16") or (image.mode == "I" and 255 < values.max() <= 65535):
        low, high = 0.0, 65535.0
    else:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(scaled.round().astype(np.uint8))
