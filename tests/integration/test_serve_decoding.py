"""The processes in which a server decodes."""

from __future__ import annotations

import asyncio
import io
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from pets.data.images import decode_rgb
from pets.data.transforms import CentreCrop, Preprocess, to_tensor
from pets.serving.decoding import Decoder, preload
from pets.serving.responses import Refusal
from pets.serving.upload import Upload
from tests.hostile import many_markers

CROP = CentreCrop((64, 96), Preprocess((0.5,) * 3, (0.5,) * 3, "bicubic", 0.875))
Result = TypeVar("Result")


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    preload()


def with_one(work: Callable[[Decoder], Awaitable[Result]]) -> Result:
    """What comes of it with a process."""

    async def begin() -> Result:
        decoder = Decoder(CROP)
        try:
            return await work(decoder)
        finally:
            decoder.end()

    return asyncio.run(begin())


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def test_pixels_are_those_of_every_other_command(drawn: Path) -> None:
    files = sorted((drawn / "images").glob("*.jpg"))[:3]
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(files[0]).resize((150, 90)).save(turned, "JPEG", exif=exif)
    contents = [*(file.read_bytes() for file in files), turned.getvalue()]

    async def decode(decoder: Decoder) -> None:
        for content in contents:
            expected = to_tensor(decode_rgb(content, "x"))
            result = await decoder(Upload("x", content), 1_000_000, 5)
            assert (result.height, result.width) == tuple(expected.shape[1:])
            assert torch.equal(result.pixels, CROP(expected))

    with_one(decode)


def test_what_takes_too_long_ends_and_the_next_photo_is_decoded(drawn: Path) -> None:
    photo = next((drawn / "images").glob("*.jpg")).read_bytes()

    async def decode(decoder: Decoder) -> None:
        with pytest.raises(Refusal, match=r"^x: takes too long to decode \(limits\.decode_sec"):
            await decoder(Upload("x", many_markers(4_000_000)), 1_000_000, 0.1)
        assert (await decoder(Upload("y", photo), 1_000_000, 5)).width == 96

    with_one(decode)


def test_what_a_header_says_gives_more_time() -> None:
    """A hundredth of a second is not enough for 9 megapixels, but for each of them."""
    noise = np.random.default_rng(0).integers(0, 255, (3000, 3000), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=1)

    async def decode(decoder: Decoder) -> None:
        with pytest.raises(Refusal, match="takes too long"):
            await decoder(Upload("x", file.getvalue()), 10_000_000, 0.001)
        assert (await decoder(Upload("x", file.getvalue()), 10_000_000, 5)).width == 3000

    with_one(decode)


def test_a_call_that_is_cancelled_ends_its_process(drawn: Path) -> None:
    """So that a client that was told to come again holds nothing."""
    photo = next((drawn / "images").glob("*.jpg")).read_bytes()

    async def decode(decoder: Decoder) -> None:
        earlier = children()
        await decoder.start()
        (pid,) = children() - earlier
        first = psutil.Process(pid)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await decoder(Upload("x", many_markers(4_000_000)), 1_000_000, 60)
        assert (await decoder(Upload("y", photo), 1_000_000, 5)).width == 96
        first.wait(60)  # the fork server takes note of its end in its own time
        assert len(children() - earlier - {pid}) == 1

    with_one(decode)


def test_memory_is_limited_by_the_pixels_that_are_allowed() -> None:
    async def limit(decoder: Decoder, max_pixels: int) -> int:
        with pytest.raises(Refusal, match="x: is empty"):
            await decoder(Upload("x", b""), max_pixels, 5)
        limits = {
            p.rlimit(psutil.RLIMIT_DATA)[0] for p in psutil.Process().children(recursive=True)
        } - {resource.getrlimit(resource.RLIMIT_DATA)[0]}
        (result,) = limits
        return result

    async def decode(decoder: Decoder) -> None:
        assert await limit(decoder, 3_000_000) - await limit(decoder, 1_000_000) == 50_000_000
        file = io.BytesIO()
        Image.new("1", (8_000, 8_000)).save(file, "PNG")
        with pytest.raises(Refusal, match=r"^x: 8000 x 8000 pixels; expected at most 1 mega"):
            await decoder(Upload("x", file.getvalue()), 1_000_000, 5)

    with_one(decode)
