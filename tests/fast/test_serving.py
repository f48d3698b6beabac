"""The parts of `pets serve` without a server: batches, what requests hold, uploads in memory."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import torch

from pets.config import ServeConfig, ServeLimits
from pets.config.validation import typed
from pets.data.transforms import CentreCrop, Preprocess
from pets.errors import ConfigError
from pets.serving.address import OwnNames, bind, urls
from pets.serving.batching import Batcher
from pets.serving.limits import Gate, Refusal
from pets.serving.upload import read_uploads, shortened
from tests.conftest import composed

LIMITS = typed(ServeConfig, composed("run=x", name="serve")).limits


def test_what_comes_while_the_thread_is_at_work_passes_together() -> None:
    batches: list[list[int]] = []
    first, go = threading.Event(), threading.Event()

    def work(items: list[int]) -> list[int]:
        batches.append(items)
        first.set()
        go.wait(10)
        return [item * item for item in items]

    batcher = Batcher(work, max_batch=4)
    results = [batcher.submit(0)]
    assert first.wait(10)
    results += [batcher.submit(item) for item in range(1, 8)]
    results[3].cancel()
    go.set()
    assert [r.result(10) for r in results if not r.cancelled()] == [0, 1, 4, 16, 25, 36, 49]
    assert batches == [[0], [1, 2, 4], [5, 6, 7]]
    batcher.close()
    assert not batcher.alive


def test_a_photo_waits_for_others_as_long_as_it_is_told_to() -> None:
    """They come while it waits, and the batch is full before its time is over."""
    sizes: list[int] = []

    def work(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return items

    batcher = Batcher(work, max_batch=3, wait=60)
    results = [batcher.submit(item) for item in range(3)]
    assert [result.result(10) for result in results] == [0, 1, 2]
    assert sizes == [3]
    batcher.close()


def test_a_batch_that_fails_says_so_and_the_next_one_is_done() -> None:
    def work(items: list[int]) -> list[float]:
        return [1 / item for item in items]

    batcher = Batcher(work, max_batch=2)

    async def ask(item: int) -> float:
        return await batcher(item)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask(0))
    assert asyncio.run(ask(4)) == 0.25
    batcher.close()


def test_a_gate_counts_what_is_inside() -> None:
    gate = Gate(LIMITS.model_copy(update={"requests": 2, "held_megabytes": 0.001}))
    with gate.enter() as one:
        one.add(600)
        with gate.enter() as two:
            with pytest.raises(Refusal, match="too busy: 2 requests") as refused, gate.enter():
                pass
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
            two.add(400)
            with pytest.raises(Refusal, match="fill the memory"):
                two.add(1)
        assert (gate.inside, gate.bytes) == (1, 600)
    assert (gate.inside, gate.bytes) == (0, 0)


class _Request:
    """What `read_uploads` needs of a request."""

    def __init__(self, headers: dict[str, str], chunks: list[bytes]) -> None:
        from starlette.datastructures import Headers

        self.headers, self.chunks = Headers(headers), chunks

    async def stream(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def read(request: Any, limits: ServeLimits = LIMITS) -> Any:
    with Gate(limits).enter() as held:
        return asyncio.run(read_uploads(request, held))


def test_large_files_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form's parser would put files of more than a megabyte on the disk."""

    def on_disk(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", on_disk)
    content = bytes(range(256)) * 4096 * 5
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="/home/me/a.jpg"\r\n\r\n'
    parts = [head, *(content[i : i + 65536] for i in range(0, len(content), 65536)), b"\r\n--b--"]
    (upload,) = read(_Request({"Content-Type": "multipart/form-data; boundary=b"}, parts))
    assert (upload.name, upload.content) == ("a.jpg", content)


def test_names_are_fit_for_a_line() -> None:
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
    ("words", "line"),
    [
        (["run=x", "limits.megapixels=200"], "limits.megapixels=200: expected a number of at most"),
        (["run=x", "limits.requests=0"], "limits.requests=0: expected a number of at least 1"),
        (["run=x", "+limits.files=1"], "limits.files=1: no such key"),
        ([], "run is needed; give it as run=..."),
    ],
)
def test_wrong_configs(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        typed(ServeConfig, composed(*words, name="serve"))
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("host", "own", "others"),
    [
        ("127.0.0.1",
         ["localhost", "LocalHost:80", "127.0.0.1:8000", "[::1]:1", "pets.example:9"],
         ["", "evil.example", "192.168.1.5", "localhost.evil.example", "127.0.0.1.nip.example",
          socket.gethostname() + ".", "::1"]),
        ("0.0.0.0",
         ["localhost", "192.168.1.5:8000", "[fe80::1]:8000", socket.gethostname(), "PETS.example"],
         ["", "evil.example", "192.168.1.5.evil.example", "[evil]", "[192.168.1.5]", "1.2.3"]),
    ],
)  # fmt: skip
def test_the_names_of_a_server(host: str, own: list[str], others: list[str]) -> None:
    with bind(host, 0) as at:
        names = OwnNames(at, ["Pets.example"])
        assert [name for name in own if name not in names] == []
        assert [name for name in others if name in names] == []
        assert "pets.example" in str(names)


def test_what_to_type_to_reach_it() -> None:
    with bind("127.0.0.1", 0) as at:
        assert urls(at) == [f"http://127.0.0.1:{at.getsockname()[1]}/"]
    with bind("0.0.0.0", 0) as at:
        here, elsewhere = urls(at)
        assert here == f"http://localhost:{at.getsockname()[1]}/"
        assert elsewhere.startswith("http://")
        assert "0.0.0.0" not in elsewhere
