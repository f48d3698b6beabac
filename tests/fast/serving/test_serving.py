"""The parts of `pets serve` without a server: batching, the memory budget, uploads."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import torch
from prometheus_client import generate_latest

from pets.config import ServeConfig, ServeLimits
from pets.config.validation import typed
from pets.data.transforms import CentreCrop, Preprocess
from pets.errors import ConfigError
from pets.serving.batching import Batcher
from pets.serving.middleware import is_own_host, own_names
from pets.serving.responses import Refusal
from pets.serving.upload import Memory, read_uploads, shortened
from tests.conftest import composed

LIMITS = typed(ServeConfig, composed("run=x", name="serve")).limits


def test_photos_that_arrive_during_a_batch_share_the_next_one() -> None:
    batches: list[list[int]] = []
    first, go = threading.Event(), threading.Event()

    def work(items: list[int]) -> list[int]:
        batches.append(items)
        first.set()
        go.wait(10)
        return [item * item for item in items]

    async def ask() -> None:
        batcher = Batcher(work, max_batch=4)
        running = asyncio.create_task(batcher.run())
        calls = [asyncio.create_task(batcher(0))]
        await asyncio.to_thread(first.wait, 10)
        calls += [asyncio.create_task(batcher(item)) for item in range(1, 8)]
        await asyncio.sleep(0.05)
        calls.pop(3).cancel()
        go.set()
        assert await asyncio.gather(*calls) == [0, 1, 4, 16, 25, 36, 49]
        assert not running.done()
        batcher.close()

    asyncio.run(ask())
    assert batches == [[0], [1, 2, 4], [5, 6, 7]]


def test_a_failed_batch_raises_and_the_next_one_is_processed() -> None:
    def work(items: list[int]) -> list[float]:
        return [1 / item for item in items]

    async def ask() -> None:
        batcher = Batcher(work, max_batch=2)
        running = asyncio.create_task(batcher.run())
        with pytest.raises(ZeroDivisionError):
            await batcher(0)
        assert await batcher(4) == 0.25
        assert not running.done()
        batcher.close()

    asyncio.run(ask())


def test_all_requests_together_stay_within_the_memory_budget() -> None:
    memory = Memory(1000)
    with memory.share() as one:
        one(600)
        with memory.share() as two:
            two(400)
            with pytest.raises(Refusal, match="fill the memory") as refused:
                two(1)
            assert refused.value.status == 503
            headers = refused.value.as_response().headers
            assert (headers["retry-after"], headers["connection"]) == ("1", "close")
        assert b"pets_held_bytes 600.0" in generate_latest()
        one(900)  # a single request fits
    assert b"pets_held_bytes 0.0" in generate_latest()


class _Request:
    """The part of a request that `read_uploads` uses."""

    def __init__(self, headers: dict[str, str], chunks: list[bytes]) -> None:
        from starlette.datastructures import Headers

        self.headers, self.chunks = Headers(headers), chunks

    async def stream(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def read(request: Any, limits: ServeLimits = LIMITS) -> Any:
    with Memory(1e9).share() as hold:
        return asyncio.run(read_uploads(request, limits, hold))


def test_large_files_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form parser spools files of more than a megabyte to disk by default."""

    def on_disk(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", on_disk)
    content = bytes(range(256)) * 4096 * 5
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="/home/me/a.jpg"\r\n\r\n'
    parts = [head, *(content[i : i + 65536] for i in range(0, len(content), 65536)), b"\r\n--b--"]
    (upload,) = read(_Request({"Content-Type": "multipart/form-data; boundary=b"}, parts))
    assert (upload.name, upload.content) == ("a.jpg", content)


def test_file_names_are_made_safe_for_one_line() -> None:
    assert shortened("a\r\nb\x1b[31m\u2028c\ud800.jpg") == "ab[31mc.jpg"
    assert len(shortened("x" * 500)) == 80


def test_the_part_that_is_seen_is_the_part_that_is_cut() -> None:
    """A picture whose pixels say where they are."""
    crop = CentreCrop((8, 12), Preprocess((0.5,) * 3, (0.5,) * 3, "bilinear", 0.8))
    for height, width in ((300, 200), (100, 400), (96, 96)):
        rows = torch.linspace(0, 250, height)[None, :, None].expand(3, height, width)
        columns = torch.linspace(0, 250, width)[None, None].expand(3, height, width)
        tall, wide = crop.part_of(height, width)
        for where, part, axis in ((rows, tall, 1), (columns, wide, 2)):
            cut = crop(where.round().to(torch.uint8)).float().movedim(axis, 1)[0, :, 0]
            steps = cut.diff().median() * len(cut) / 250
            assert steps == pytest.approx(part, abs=0.06)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["run=x", "limits.megapixels=200"], "limits.megapixels=200: expected a number of at most"),
        (["run=x", "limits.photos=0"], "limits.photos=0: expected a number of at least 1"),
        (["run=x", "+limits.files=1"], "limits.files=1: no such key"),
        ([], "run is needed; give it as run=..."),
    ],
)
def test_wrong_configs(args: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        typed(ServeConfig, composed(*args, name="serve"))
    assert line in str(error.value)


def test_the_names_of_a_server() -> None:
    """Any IP address is accepted; only names can be used for DNS rebinding."""
    names = own_names(["Pets.example"])
    for own in (
        "localhost", "LocalHost:80", "127.0.0.1:8000", "[::1]:1", "192.168.1.5:8000",
        "[fe80::1]:8000", socket.gethostname(), "pets.example:9", "PETS.example",
    ):  # fmt: skip
        assert is_own_host(own, names), own
    for other in (
        "", "evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.example",
        "192.168.1.5.evil.example", "[evil]", "1.2.3", "::1", socket.gethostname() + ".",
    ):  # fmt: skip
        assert not is_own_host(other, names), other
