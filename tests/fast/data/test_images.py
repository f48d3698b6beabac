"""Every kind of file becomes upright RGB, or is refused by name."""

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pets.config import VerifyConfig
from pets.config.validation import typed
from pets.data.diagnostics import Diagnostics
from pets.data.discovery import find_photos
from pets.data.images import (
    FORMATS,
    SUFFIXES,
    TooManyPixels,
    UnreadableImage,
    decode_rgb,
    hint,
    open_pixels,
    open_rgb,
    size_of,
)
from pets.data.inspection import inspect_photo
from pets.errors import DataError
from pets.prediction.sources import find_source
from pets.verify.photo_checks import check_photo
from tests.conftest import composed
from tests.hostile import many_scans, plain_pnm


def pixel(path: Path) -> tuple[int, ...]:
    image = open_rgb(path)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("L", 77, "png", (77, 77, 77)),
        ("LA", (77, 0), "png", (255, 255, 255)),
        ("RGBA", (200, 0, 0, 128), "png", (227, 127, 127)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 32896, "png", (128, 128, 128)),
        ("CMYK", (0, 255, 255, 0), "tif", (255, 0, 0)),
    ],
)
def test_modes(
    tmp_path: Path, mode: str, colour: object, suffix: str, expected: tuple[int, ...]
) -> None:
    file = tmp_path / f"x.{suffix}"
    Image.new(mode, (4, 3), colour).save(file)  # type: ignore[arg-type]
    assert np.allclose(pixel(file), expected, atol=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    file, values = tmp_path / "x.tif", np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(file)
    assert pixel(file) == (0, 0, 0)
    assert open_rgb(file).getpixel((7, 7)) == (255, 255, 255)
    values[3, 3] = value
    Image.fromarray(values).save(file)
    line = "x.tif: cannot be read as an image (pixels that are no numbers: NaN or infinity)"
    with pytest.raises(UnreadableImage, match=re.escape(line)):
        open_rgb(file)
    assert "pixels that are no numbers" in str(inspect_photo(file).problem)


def test_palette_with_transparency_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 3), 0)
    image.putpalette([200, 10, 10, 0, 0, 250])
    image.putpixel((3, 2), 1)
    image.save(tmp_path / "x.png", transparency=0)
    assert pixel(tmp_path / "x.png") == (255, 255, 255)
    assert open_rgb(tmp_path / "x.png").getpixel((3, 2)) == (0, 0, 250)


def test_the_format_is_found_from_the_content(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), (1, 2, 3)).save(tmp_path / "x.jpg", "PNG")
    assert pixel(tmp_path / "x.jpg") == (1, 2, 3)


def test_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    image.save(tmp_path / "x.png", exif=exif)
    upright = open_rgb(tmp_path / "x.png")
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (255, 255, 255)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert pixel(tmp_path / "x.gif") == (255, 0, 0)


def test_truncated_text_and_missing_files_are_refused_by_name(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:1500])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("cut.jpg", "text.jpg", "empty.jpg"):
        with pytest.raises(UnreadableImage, match=rf"{name}: cannot be read as an image"):
            open_rgb(tmp_path / name)
    with pytest.raises(UnreadableImage, match=r"gone\.jpg: no such photo"):
        open_rgb(tmp_path / "gone.jpg")


def jpegs(photo: np.ndarray) -> dict[str, bytes]:
    """A photo as JPEGs of every kind."""
    kinds: dict[str, dict[str, Any]] = {
        "plain": {}, "progressive": {"progressive": True}, "sharp": {"subsampling": 0},
        "4:2:2": {"subsampling": 1}, "restarts": {"restart_marker_rows": 1},
        "RGB": {"keep_rgb": True}, "dpi": {"dpi": (72, 72)},
    }  # fmt: skip
    images = {name: (Image.fromarray(photo), kinds[name]) for name in kinds}
    images |= {mode: (Image.fromarray(photo).convert(mode), {}) for mode in ("L", "CMYK")}
    for turn in range(10):
        exif = Image.Exif()
        exif[0x0112] = turn
        images[f"turn {turn}"] = (Image.fromarray(photo), {"exif": exif})
    found = {}
    for name, (image, options) in images.items():
        image.save(file := io.BytesIO(), "JPEG", quality=85, **options)
        found[name] = file.getvalue()
    return found


def test_pixels_are_those_of_the_image(tmp_path: Path) -> None:
    """Two libraries decode JPEGs; whole, cut or with other bytes, both see the same photo."""
    rng, outcomes, file = np.random.default_rng(0), set(), tmp_path / "x.jpg"
    rough = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)
    photo = np.asarray(Image.fromarray(rough).resize((75, 53), Image.Resampling.BICUBIC))
    for name, content in jpegs(photo).items():
        changed = [content, content[:-2], content + b"more", content[: len(content) // 2]]
        for at in rng.integers(len(content) // 3, len(content), 20):
            changed.append(content[:at] + rng.bytes(3) + content[at + 3 :])
            changed.append(content[:at] + content[at + 9 :])
        for which, bytes_ in enumerate(changed):
            file.write_bytes(bytes_)
            try:
                expected = np.asarray(open_rgb(file))
            except UnreadableImage as error:
                with pytest.raises(UnreadableImage, match=re.escape(str(error))):
                    open_pixels(file)
                outcomes.add("refused")
                assert which, f"{name} is whole"
            else:
                pixels = open_pixels(file)
                assert pixels.flags.writeable
                assert np.array_equal(pixels, expected), f"{name}, {which}"
                outcomes.add("read")
    assert outcomes == {"read", "refused"}
    file.write_bytes(many_scans(101))
    with pytest.raises(UnreadableImage, match="101 scans; expected at most 100"):
        open_pixels(file)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    Image.new("1", (20_000, 6_000)).save(tmp_path / "bomb.png")
    with pytest.raises(
        UnreadableImage, match=r"bomb\.png: 20000 x 6000 pixels; expected at most 100 megapixels"
    ):
        open_rgb(tmp_path / "bomb.png")
    # Pillow has a limit, too, and a line of its own.
    huge = b"P6 40000 40000 255 "
    with pytest.raises(TooManyPixels, match=r"^h: 40000 x 40000 pixels; .* at most 50 megapixels$"):
        decode_rgb(huge, "h", 50_000_000)


def test_a_very_thin_image_is_refused(tmp_path: Path) -> None:
    """Resized by its shorter side it would take gigabytes."""
    Image.new("L", (1, 101)).save(tmp_path / "needle.png")
    with pytest.raises(
        TooManyPixels, match=r"1 x 101 pixels is no photo shape; expected at most 100 to 1"
    ):
        open_rgb(tmp_path / "needle.png")
    Image.new("L", (100, 1)).save(tmp_path / "needle.png")
    assert open_rgb(tmp_path / "needle.png").size == (100, 1)


def test_an_image_that_takes_minutes_to_decode_is_refused() -> None:
    with pytest.raises(UnreadableImage, match=r"^x: .*\(101 scans; expected at most 100\)"):
        decode_rgb(many_scans(101), "x")
    assert decode_rgb(many_scans(100), "x").size == (64, 64)
    with pytest.raises(UnreadableImage, match=r"^x: .*\(a PNM of 600,\d+ bytes written as text "):
        decode_rgb(plain_pnm(600_000), "x")
    assert decode_rgb(b"P2 2 1 255 7 9", "x").getpixel((1, 0)) == (9, 9, 9)


def test_scans_are_those_of_the_picture_itself() -> None:
    """Not bytes like theirs in the film behind it, or in its metadata."""
    photo = many_scans(10)
    chance = b"\xff\xda" * 200
    metadata = b"\xff\xe5" + (len(chance) + 2).to_bytes(2) + chance
    for content in (photo + chance, photo[:2] + metadata + photo[2:]):
        assert decode_rgb(content, "x").tobytes() == decode_rgb(photo, "x").tobytes()


def test_bytes_decode_like_files(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.jpg")
    content = (tmp_path / "x.jpg").read_bytes()
    assert decode_rgb(content, "x").tobytes() == open_rgb(tmp_path / "x.jpg").tobytes()
    with pytest.raises(
        TooManyPixels, match=r"^mine: 40 x 30 pixels; expected at most 0\.001199 megapixels"
    ):
        decode_rgb(content, "mine", max_pixels=1199)
    with pytest.raises(UnreadableImage, match=r"^mine: cannot be read as an image"):
        decode_rgb(content[:300], "mine")


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "MPO"]
)
def test_formats_of_photos(tmp_path: Path, kind: str) -> None:
    """MPO is what some phones and cameras write into a .jpg: a JPEG with more behind it."""
    Image.new("RGB", (16, 16), (200, 30, 40)).save(tmp_path / "x.jpg", kind)
    assert np.allclose(pixel(tmp_path / "x.jpg"), (200, 30, 40), atol=8)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "ICNS", "TGA", "JPEG2000", "DDS", "PCX"])
def test_other_formats_that_pillow_knows_are_not_tried(tmp_path: Path, kind: str) -> None:
    assert kind not in FORMATS
    Image.new("RGB", (16, 16)).save(tmp_path / "x.jpg", kind)
    with pytest.raises(UnreadableImage, match="not a known format"):
        open_rgb(tmp_path / "x.jpg")


def png_with(*pieces: bytes, after: bool = False) -> bytes:
    """A good PNG with more chunks before its pixels, or after them."""
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (1, 2, 3)).save(file, "PNG")
    content = file.getvalue()
    at = len(content) - 12 if after else 33
    return content[:at] + b"".join(pieces) + content[at:]


def chunk(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    sum_ = zlib.crc32(kind + data) ^ wrong
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)


def jpeg_with(*segments: tuple[int, bytes], tail: bytes = b"") -> bytes:
    """A good JPEG with more segments before its pixels."""
    file = io.BytesIO()
    Image.new("RGB", (8, 16), (200, 30, 40)).save(file, "JPEG")
    content = file.getvalue()
    more = b"".join(
        bytes([255, kind]) + struct.pack(">H", len(data) + 2) + data for kind, data in segments
    )
    return content[:2] + more + content[2:] + tail


LARGE = zlib.compress(b"x" * 2_000_000)


@pytest.mark.parametrize(
    "content",
    [
        png_with(chunk(b"zTXt", b"a\0\0" + LARGE)),
        png_with(chunk(b"zTXt", b"a\0\0" + LARGE), after=True),
        png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE)),
        png_with(chunk(b"iCCP", b"a\0\0" + LARGE)),
        png_with(*[chunk(b"tEXt", b"%d\0" % n + b"x" * 900_000) for n in range(80)]),
        png_with(chunk(b"tEXt", b"a\0b", wrong=1)),
        png_with(chunk(b"iCCP", b"no end of the name")),
        png_with(chunk(b"eXIf", b"no tiff here")),
        png_with(chunk(b"acTL", b"1")),
        png_with(chunk(b"pHYs", b"1")),
    ],
)
def test_a_png_with_damaged_metadata_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert pixel(tmp_path / "x.png") == (1, 2, 3)
    assert decode_rgb(content, "x").getpixel((3, 2)) == (1, 2, 3)
    assert size_of(tmp_path / "x.png") == (4, 3)
    inspection = inspect_photo(tmp_path / "x.png")
    assert inspection.problem is None
    assert inspection.metadata is not None
    assert (inspection.format, inspection.width) == ("PNG", 4)


@pytest.mark.parametrize(
    ("segments", "noted"),
    [
        ([(0xE1, b"Exif\0\0hello, no tiff here")], True),
        ([(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01")], True),
        ([(0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\2\0\0\0" + b"6\0\0\0" + bytes(4))], True),
        (
            [(0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0" + b"\x4d\0\0\0" + bytes(4))],
            True,
        ),
        ([(0xE2, b"ICC_PROFILE\0\1\2cut short")], False),
        ([(0xE2, b"ICC_PROFILE\0")], True),
        ([(0xE2, b"MPF\0garbage")], False),
        ([(0xE0, b"JFIF\0")], True),
        ([(0xED, b"Photoshop 3.0\x008BIM\x03")], False),
    ],
)  # fmt: skip
def test_a_jpeg_with_damaged_metadata_is_read(
    tmp_path: Path, segments: list[tuple[int, bytes]], noted: bool
) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg_with(*segments, tail=b"garbage"))
    photo = open_rgb(tmp_path / "x.jpg")
    assert photo.size == size_of(tmp_path / "x.jpg") == (8, 16)
    assert np.allclose(photo.getpixel((0, 0)), (200, 30, 40), atol=8)
    inspection = inspect_photo(tmp_path / "x.jpg")
    assert inspection.problem is None
    assert (inspection.metadata is not None) == noted


@pytest.mark.parametrize(
    "tags",
    [
        # A resolution of one by nothing; the GPS block that is this block itself; twice.
        [(0x0112, 3, 1, b"\6\0\0\0"), (0x011A, 5, 1, struct.pack("<I", 9000))],
        [(0x0112, 3, 1, b"\6\0\0\0"), (0x8825, 4, 1, struct.pack("<I", 8))],
        [(0x0112, 3, 2, b"\6\0\6\0")],
    ],
)
def test_the_orientation_is_applied_despite_broken_tags(
    tmp_path: Path, tags: list[tuple[int, int, int, bytes]]
) -> None:
    rows = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + rows + bytes(4)
    (tmp_path / "x.jpg").write_bytes(jpeg_with((0xE1, exif)))
    assert open_rgb(tmp_path / "x.jpg").size == (16, 8)


@pytest.mark.parametrize(
    ("exif", "problem"),
    [
        (b"II*\0\x08\0\0\0" + bytes(6), None),  # whole, and empty
        (b"MM\0*\0\0\0\x08" + bytes(6), None),
        (b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0" + bytes(8), None),  # orientation 0
        (b"II*\0\x99\0\0\0" + bytes(6), "its EXIF cannot be read"),
        (b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09" + bytes(7), "is 9; expected 1 to 8"),
    ],
)
def test_metadata_of_real_cameras_is_not_reported(
    tmp_path: Path, exif: bytes, problem: str | None
) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg_with((0xE1, b"Exif\0\0" + exif)))
    result = inspect_photo(tmp_path / "x.jpg").metadata
    assert result is None if problem is None else str(result).endswith(problem)


def test_limits_hold_for_files_with_broken_metadata(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 6_000)).save(file, "PNG")
    bomb = file.getvalue()
    (tmp_path / "x.png").write_bytes(bomb[:33] + chunk(b"tEXt", b"a\0b", wrong=1) + bomb[33:])
    with pytest.raises(TooManyPixels, match=r"20000 x 6000 pixels; expected at most 100 mega"):
        open_rgb(tmp_path / "x.png")
    cut = png_with(chunk(b"tEXt", b"a\0b", wrong=1))[:-30]
    with pytest.raises(UnreadableImage, match="cannot be read as an image"):
        decode_rgb(cut, "x")


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".PJPEG", ".pjp", ".JPG", ".tif"])
def test_a_photo_is_a_photo_whatever_its_suffix(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / f"x{suffix}", "TIFF" if suffix == ".tif" else "JPEG")
    assert find_photos(tmp_path, ".", Diagnostics()) == [f"x{suffix}"]
    assert find_source(str(tmp_path)).files == [str(tmp_path / f"x{suffix}")]
    config = typed(VerifyConfig, composed("data.root=x", name="verify"))
    kinds = [
        f.kind for f in check_photo(f"x{suffix}", inspect_photo(tmp_path / f"x{suffix}"), config)
    ]
    assert "wrong suffix" not in kinds


def test_the_package_for_heic_photos_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "x.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    if ".heic" in SUFFIXES:
        assert hint(".HEIC") == ""
        return
    with pytest.raises(UnreadableImage, match=r"not a known format; pip install pillow-heif\)$"):
        open_rgb(tmp_path / "x.HEIC")
    with pytest.raises(DataError, match=r"left out: 1 \.heic \(pip install pillow-heif\)$"):
        find_source(str(tmp_path))
