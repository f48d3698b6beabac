"""Inspection of a single file, which is decoded to its last byte."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from pets.cache.memo import FileMemo
from pets.data.images import FORMATS, UnreadableImage, open_rgb
from pets.data.metadata import exif_problem, without_metadata
from pets.errors import PetsError
from pets.io.serialize import to_json
from pets.system.installation import install

HASH_BITS = 256
_SIDE = 16  # side of the perceptual hash: its square is HASH_BITS
_SMALL = 128  # pixels: side of the thumbnail for colours and the hash
_FLAT = 8  # of 255: JPEG artefacts on a uniform colour, or on grey, stay within this
# libjpeg's messages about damaged data; its other messages are about headers or unsupported
# features.
_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG")


@dataclass(frozen=True)
class Inspection:
    """Properties of a file. One that cannot be read has a `problem`, and no other property."""

    problem: str | None = None  # why it cannot be read
    damage: str | None = None  # damage that its decoder tolerates
    metadata: str | None = None  # which metadata cannot be read
    format: str = ""  # of the content, as Pillow names it: JPEG, PNG, ...
    width: int = 0  # pixels, upright
    height: int = 0
    grey: bool = False  # no pixel has a colour
    cmyk: bool = False
    alpha: bool = False  # some pixel is transparent
    frames: bool = False  # there is more than one frame
    blank: bool = False  # all pixels have one colour
    digest: str = ""  # of the bytes, hexadecimal
    hash: str = ""  # perceptual, HASH_BITS in hexadecimal; empty for a blank image
    mirrored: str = ""  # the hash of the mirrored image

    @property
    def pixels(self) -> int:
        return self.width * self.height


def inspect_photos(files: Sequence[Path]) -> list[Inspection]:
    """Inspect files in several threads, with progress. Unchanged files are not read again.

    Raises:
        PetsError: A library is not installed.
    """
    try:
        import imagehash
    except ImportError as error:
        raise PetsError(
            f"comparing photos needs the package {error.name}: {install('verify')}"
        ) from error
    versions = f"pillow {PIL.__version__} imagehash {imagehash.__version__}"
    inspected = FileMemo(
        f"verify 4 {versions}", _inspected, is_final=lambda answer: '"problem"' not in answer
    )
    return [
        Inspection(**json.loads(answer)) for answer in inspected.of_all(files, "inspecting photos")
    ]


def _inspected(file: Path) -> str:
    inspection, plain = asdict(inspect_photo(file)), asdict(Inspection())
    return to_json({key: value for key, value in inspection.items() if value != plain[key]})


def inspect_photo(file: Path) -> Inspection:
    """Decode a file to its last byte and describe it."""
    from imagehash import phash

    try:
        content = file.read_bytes()
    except OSError as error:
        return Inspection(problem=f"cannot be read ({error.strerror})")
    if not content:
        return Inspection(problem="is empty")
    try:
        photo = open_rgb(file)
    except UnreadableImage as error:
        return Inspection(problem=str(error).removeprefix(f"{file}: "))
    metadata = _metadata(content)
    readable = content if metadata is None else without_metadata(content)
    with Image.open(io.BytesIO(readable), formats=FORMATS) as image:
        kind = str(image.format)
        metadata = metadata or exif_problem(image)
        # A camera's JPEG may contain previews besides the photo (MPO): not an animation.
        frames = kind != "MPO" and bool(getattr(image, "is_animated", False))
        cmyk = image.mode == "CMYK"
        alpha = image.has_transparency_data and (
            image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
        )
    small = photo.resize((_SMALL, _SMALL), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.int16)
    blank = int(np.ptp(pixels.reshape(-1, 3), axis=0).max()) <= _FLAT
    return Inspection(
        damage=_damage(content) if kind in ("JPEG", "MPO") else None,
        metadata=metadata,
        format=kind,
        width=photo.width,
        height=photo.height,
        grey=int(np.ptp(pixels, axis=2).max()) <= _FLAT,
        cmyk=cmyk,
        alpha=alpha,
        frames=frames,
        blank=blank,
        digest=blake2b(content, digest_size=16).hexdigest(),
        hash="" if blank else str(phash(small, _SIDE)),
        mirrored="" if blank else str(phash(ImageOps.mirror(small), _SIDE)),
    )


def _metadata(content: bytes) -> str | None:
    """Return a problem with texts and profiles, also with those after the pixels, or None."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.format == "PNG":
                image.load()
    except UnidentifiedImageError:
        return "its metadata is damaged"
    except (ValueError, SyntaxError) as error:
        return f"its metadata cannot be read ({' '.join(str(error).split())[:80]})"
    return None


def _damage(content: bytes) -> str | None:
    """Return libjpeg's warning about lost or added bytes, which Pillow does not report, or None.

    All data is decoded, but the pixels only at an eighth of their size.
    """
    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_factor=8, strict=True)
    except ValueError as error:
        return str(error) if str(error).startswith(_DAMAGE) else None
    return None
