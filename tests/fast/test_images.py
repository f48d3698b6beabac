"""Every kind of file becomes upright RGB, or is refused by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pets.data.images import FORMATS, TooManyPixels, UnreadableImage, decode_rgb, open_rgb
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


def test_a_needle_is_refused(tmp_path: Path) -> None:
    """Resized by its shorter side it would take gigabytes."""
    Image.new("L", (1, 101)).save(tmp_path / "needle.png")
    with pytest.raises(
        TooManyPixels, match=r"1 x 101 pixels are no photo's shape; expected at most 100 to 1"
    ):
        open_rgb(tmp_path / "needle.png")
    Image.new("L", (100, 1)).save(tmp_path / "needle.png")
    assert open_rgb(tmp_path / "needle.png").size == (100, 1)


def test_what_takes_minutes_to_decode_is_refused() -> None:
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


def test_the_same_from_bytes(tmp_path: Path) -> None:
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
