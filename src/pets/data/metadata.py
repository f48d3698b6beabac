"""Metadata of image files: EXIF orientation, and removal of damaged metadata."""

from __future__ import annotations

import zlib

from PIL import ExifTags, Image, UnidentifiedImageError

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
# Pillow's errors for damaged metadata; for damaged pixels it raises OSError.
DAMAGED = (ValueError, SyntaxError, UnidentifiedImageError)
_ORIENTATION = ExifTags.Base.Orientation
_T = Image.Transpose
_TURNS = {
    2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE,
    6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90,
}  # fmt: skip


def without_metadata(content: bytes) -> bytes:
    """Remove what does not affect the pixels of a PNG or JPEG: texts, profiles, damaged chunks."""
    if content.startswith(PNG):
        return _png_without(content)
    return _jpeg_without(content) if content.startswith(JPEG) else content


def _png_without(content: bytes) -> bytes:
    kept, at = [PNG], len(PNG)
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
        # Intact JFIF and Adobe segments define the colours.
        colours = kind in (0xE0, 0xEE) and end - at >= 16
        turned = kind == 0xE1 and content[at + 4 : at + 8] == b"Exif"
        if colours or turned or not (0xE0 <= kind <= 0xEF or kind == 0xFE):
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]])


def exif_problem(image: Image.Image) -> str | None:
    """Describe what is wrong with an image's EXIF; None if it is absent or readable."""
    try:
        exif = image.getexif()
    except Exception as error:
        return f"its EXIF cannot be read ({' '.join(str(error).split())[:80]})"
    turned = exif.get(_ORIENTATION, 1)
    if not len(exif) and not _without_entries(image.info.get("exif", b"")):
        return "its EXIF cannot be read"
    # Many cameras write 0 if they do not know their orientation.
    if turned not in (0, 1, *_TURNS):
        return f"the orientation in its EXIF is {turned!r}; expected 1 to 8"
    return None


def _without_entries(exif: bytes) -> bool:
    """Whether EXIF is absent, or intact and empty."""
    tiff = exif.removeprefix(b"Exif\0\0")
    first = int.from_bytes(tiff[4:8], "little" if tiff.startswith(b"II") else "big")
    return not exif or tiff[first : first + 2] == b"\0\0"


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return the turn that the EXIF orientation asks for."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # for broken EXIF Pillow's readers raise anything
        return None


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; an invalid one is ignored."""
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)
