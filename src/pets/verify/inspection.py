"""Inspection of one file: decoded to its last byte, without looking at others."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from pets.cache.memo import FileMemo
from pets.data.images import FORMATS, UnreadableImage, open_rgb
from pets.data.metadata import exif_problem, without_metadata
from pets.errors import PetsError
from pets.io.serialize import to_json
from pets.system.installation import install

HASH_BITS = 256
_SIDE = 16  # of the perceptual hash: its square is HASH_BITS
_SEEN = 128  # pixels: the small square that colours and the hash are taken from
_FLAT = 8  # of 255: what JPEG makes of one colour, or of grey, stays within
# What libjpeg says of data that is not as it was written; its other complaints are about what it
# does not support, or about headers.
_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG")


@dataclass(frozen=True)
class Inspection:
    """What a file is. One that cannot be read has a `problem`, and nothing else counts."""

    problem: str | None = None  # why it cannot be read
    damage: str | None = None  # what its decoder put up with
    metadata: str | None = None  # what of its metadata cannot be read
    format: str = ""  # of the content, in Pillow's words: JPEG, PNG, ...
    width: int = 0  # pixels, upright
    height: int = 0
    grey: bool = False  # no pixel has a colour
    cmyk: bool = False
    alpha: bool = False  # some pixel is transparent
    frames: bool = False  # there is more than the first picture
    blank: bool = False  # all pixels are alike
    digest: str = ""  # of the bytes, hexadecimal
    hash: str = ""  # perceptual, HASH_BITS in hexadecimal; of a blank picture none
    mirrored: str = ""  # the same of the mirrored picture

    @property
    def pixels(self) -> int:
        return self.width * self.height


def inspect_photos(files: Sequence[Path]) -> list[Inspection]:
    """Inspect files in several threads, with progress. Unchanged files are not read again.

    Raises:
        PetsError: a library is not installed.
    """
    try:
        import imagehash
        import simplejpeg  # noqa: F401
    except ImportError as error:
        raise PetsError(
            f"pets verify needs the package {error.name}: {install('verify')}"
        ) from error
    versions = f"pillow {PIL.__version__} imagehash {imagehash.__version__}"
    inspected = FileMemo(
        f"verify 3 {versions}", _inspected, is_final=lambda answer: '"problem"' not in answer
    )
    return [
        Inspection(**json.loads(answer)) for answer in inspected.of_all(files, "looking at photos")
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
        # A camera's JPEG may hold previews beside the photo (MPO): no animation.
        frames = kind != "MPO" and bool(getattr(image, "is_animated", False))
        cmyk = image.mode == "CMYK"
        alpha = image.has_transparency_data and (
            image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
        )
    small = photo.resize((_SEEN, _SEEN), Image.Resampling.BOX)
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
    """What Pillow makes of texts and profiles, after the pixels, too."""
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
    """What libjpeg complains of in a JPEG that Pillow reads without a word: lost or added bytes.

    All data is decoded, the pixels only at an eighth of their size.
    """
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_factor=8, strict=True)
    except ValueError as error:
        return str(error) if str(error).startswith(_DAMAGE) else None
    return None
