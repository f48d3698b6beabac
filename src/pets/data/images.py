"""Open any image file as RGB, by its content and the way up it was taken."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pets.errors import DataError

# A decompression bomb is refused: 100 megapixels is above any camera's photo.
MAX_PIXELS = 100_000_000
# Pillow would warn of some of those that are refused here by name.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif"}
)


class UnreadableImage(DataError):
    """A file that is no image, is damaged, cut short or too large."""


def open_rgb(path: Path) -> Image.Image:
    """The photo as a loaded RGB image, upright.

    The format is found from the content, not from the name. The EXIF orientation is applied;
    transparent pixels become white; 16-bit and float greys are scaled to 8 bits, not clipped; of
    an animation the first frame is taken. Raises UnreadableImage, naming the file.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} exceeds {MAX_PIXELS:,} pixels")
            image.load()
            # The orientation is read before any conversion drops it.
            return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise UnreadableImage(f"{path}: no such photo") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{path}: cannot be read as an image (not a known format)") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()).replace(repr(str(path)), "it")
        raise UnreadableImage(f"{path}: cannot be read as an image ({reason})") from error


def size_of(path: Path) -> tuple[int, int]:
    """Width and height in pixels from the file's header. Raises UnreadableImage."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(
            f"{path}: cannot be read as an image; data.on_bad_image=skip leaves it out"
        ) from error


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
