"""`pets serve` under tight limits: slow clients, too many of them, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from tests.hostile import many_chunks, many_markers, plain_pnm
from tests.integration.serving import Served, everything, served

IMAGE = {"Content-Type": "image/jpeg"}
TIGHT = (
    "limits.seconds=2", "limits.connections=12", "limits.megabytes=0.2",
    "limits.held_megabytes=0.3", "limits.megapixels=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tight")
    (folder / "nothing").mkdir()
    with served(trained, folder, *TIGHT, "data.root=nothing", "threshold=1") as found:
        yield found


@pytest.fixture(scope="module")
def photo(drawn: Path) -> bytes:
    return next((drawn / "images").glob("*.jpg")).read_bytes()


def head(length: int, kind: str = "image/jpeg") -> bytes:
    return (
        f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def answer_of(received: bytes) -> tuple[int, str]:
    """Status and line of an answer that ended its connection."""
    start, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in start.lower()
    assert b"x-content-type-options: nosniff" in start.lower()
    return int(start.split()[1]), json.loads(body)["error"]


def named(server: Served, photo: bytes) -> None:
    answer = server.client.post("/api/predict", files={"file": photo})
    assert answer.status_code == 200, answer.text


def test_a_slow_body_ends(server: Served, photo: bytes) -> None:
    connection = server.raw(head(10_000), b"\xff\xd8")
    found = answer_of(everything(connection))
    assert found == (408, "the upload took longer than 2 seconds (limits.seconds)")
    named(server, photo)


def test_a_slow_head_ends_however_it_trickles(server: Served, photo: bytes) -> None:
    connection = server.raw(b"GET /health HTTP/1.1\r\n")
    trickling = threading.Event()

    def trickle() -> None:
        while not trickling.wait(0.3):
            try:
                connection.sendall(b"X-A: b\r\n")
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert until_its_end(connection) == b""
    finally:
        trickling.set()
        thread.join()
    named(server, photo)


def test_what_comes_after_an_early_answer_is_not_read_for_ever(server: Served) -> None:
    """A body that trickles behind a request which needs none."""
    connection = server.raw(head(10_000, "text/plain"))
    received, until = b"", time.monotonic() + 30
    connection.settimeout(0.3)
    ended = False
    while not ended and time.monotonic() < until:
        try:
            connection.sendall(b"x")
            part = connection.recv(65536)
            ended, received = not part, received + part
        except TimeoutError:
            pass
        except OSError:
            ended = True
    assert b" 415 " in received
    assert ended


def test_silence_ends(server: Served) -> None:
    """Before the first request and after it."""
    assert until_its_end(server.raw()) == b""
    connection = server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"ready" in until_its_end(connection)


def test_what_is_no_http_is_refused(server: Served) -> None:
    received = until_its_end(server.raw(b"\x16\x03\x01 hello\r\n\r\n"))
    assert received.startswith(b"HTTP/1.1 400 ")


def until_its_end(connection: socket.socket) -> bytes:
    """What comes before the server ends a connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            received += part
    return received


def test_uploads_hold_no_more_than_they_may(server: Served, photo: bytes) -> None:
    first = server.raw(head(190_000), bytes(180_000))
    waited = time.monotonic() + 10
    while "pets_held_bytes 180000.0" not in server.client.get("/metrics").text:
        assert time.monotonic() < waited
    second = server.raw(head(190_000), bytes(180_000))
    assert answer_of(everything(second)) == (
        503,
        "too busy: other uploads fill the memory; try again",
    )
    named(server, photo)
    first.close()
    while "pets_held_bytes 0.0" not in server.client.get("/metrics").text:
        assert time.monotonic() < waited


def test_too_many_connections_are_told_to_come_again(server: Served, photo: bytes) -> None:
    silent = [server.raw() for _ in range(12)]
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/api/predict", files={"file": photo}).status_code == 503
    assert [until_its_end(connection) for connection in silent] == [b""] * 12
    named(server, photo)


def test_the_limits_given_are_those_that_hold(server: Served, photo: bytes) -> None:
    info = server.client.get("/api/info").json()
    assert info["limits"]["megabytes"] == 0.2
    answer = server.client.post("/api/predict", files={"file": bytes(250_000)})
    assert answer.json() == {"error": "the upload is larger than 0.2 MB (limits.megabytes)"}
    result = server.client.post("/api/predict", files={"file": photo}).json()["results"][0]
    assert result["sure"] is False


def test_without_the_photos_there_are_no_examples(server: Served) -> None:
    assert server.client.get("/api/examples").json() == {"examples": []}
    assert "\nno examples on the page: the run has no validation photos at nothing\n" in (
        server.running.out.read_text()
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_whatever_is_under_way(
    trained: Path, tmp_path: Path, photo: bytes, number: signal.Signals, code: int
) -> None:
    """And neither the names of photos nor anything else of them was said or left behind."""
    folder = tmp_path / "here"
    folder.mkdir()
    with served(
        trained, folder, "examples=0", "host=0.0.0.0", "hosts=[Any.name.example]"
    ) as server:
        files = {"file": ("my_secret_name.jpg", photo)}
        with httpx.Client(base_url=f"http://127.0.0.1:{server.address[1]}") as client:
            host = {"Host": "any.name.example"}
            assert client.post("/api/predict", files=files, headers=host).status_code == 200
            page = host | {"Origin": "http://any.name.example"}
            assert client.post("/api/predict", files=files, headers=page).status_code == 200
            for other in (host, {"Host": "localhost"}):
                page = other | {"Origin": "http://evil.example"}
                assert client.post("/api/predict", files=files, headers=page).status_code == 403
            evil = client.get("/health", headers={"Host": "evil.example"})
            assert evil.status_code == 421
            assert "give other names with hosts=[...]" in evil.json()["error"]
            slow = server.raw(head(10_000), b"x")
            time.sleep(0.2)
            assert server.stop(number) == code
        slow.close()
    port = server.address[1]
    *output, ready = server.running.out.read_text().splitlines()
    assert output == [
        f"loading {trained}",
        "host=0.0.0.0: everybody on the network can reach it",
    ]
    here, _, elsewhere = ready.removesuffix(" (Ctrl-C ends it)").partition(" and ")
    assert here == f"ready at http://localhost:{port}/"
    assert elsewhere.startswith("http://")
    assert elsewhere.endswith(f":{port}/")
    assert not elsewhere.startswith(("http://0.0.0.0", "http://localhost"))
    assert server.running.err.read_text() == "stopped\n"
    assert list(folder.iterdir()) == []


def large(megapixels: float) -> bytes:
    """A photo of few bytes that takes long to decode."""
    file = io.BytesIO()
    Image.new("RGB", (5_000, int(megapixels * 200)), "red").save(file, "PNG", compress_level=1)
    return file.getvalue()


def test_a_small_photo_does_not_wait_for_large_ones(
    trained: Path, tmp_path: Path, photo: bytes
) -> None:
    """Nor do large ones fill the memory: one after another is decoded."""
    content = large(30)

    async def all_of_them(url: str) -> tuple[list[str], list[int], set[int]]:
        order: list[str] = []

        async def ask(client: httpx.AsyncClient, name: str, sent: bytes) -> int:
            answer = await client.post("/api/predict", files={"file": sent})
            order.append(name)
            return answer.status_code

        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            asked = [asyncio.create_task(ask(client, "large", content)) for _ in range(6)]
            while "pets_requests_inside 6.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.02)
            asked += [asyncio.create_task(ask(client, "small", photo)) for _ in range(8)]
            at_work: set[int] = set()
            while not all(task.done() for task in asked):
                await asyncio.sleep(0.01)
                at_work.add(sum(memory(pid) > usual + 0.08 for pid, usual in before.items()))
            return order, [task.result() for task in asked], at_work

    with served(trained, tmp_path, "examples=0") as server:
        below = psutil.Process(server.running.pid).children(recursive=True)
        before = {process.pid: memory(process.pid) for process in below}
        order, statuses, at_work = asyncio.run(all_of_them(server.url))
    assert statuses == [200] * 14
    assert order[-3:] == ["large"] * 3
    assert at_work == {0, 1}  # the pixels of a large photo take 0.09 GB


def memory(pid: int) -> float:
    """Gigabytes of a process; 0 where it has ended."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).memory_info().rss / 1e9
    return 0.0


def test_ordinary_photos_are_answered_beside_those_that_take_for_ever(
    trained: Path, tmp_path: Path, photo: bytes
) -> None:
    """As long as attackers keep coming; afterwards nothing of theirs is held."""
    bombs = [many_markers(3_000_000), many_chunks(1_000_000), plain_pnm(5_000_000)]

    async def attack(client: httpx.AsyncClient, bomb: bytes, ended: asyncio.Event) -> set[int]:
        found = set()
        while not ended.is_set():
            answer = await client.post("/api/predict", content=bomb, headers=IMAGE)
            found.add(answer.status_code)
        return found

    async def all_of_them(url: str) -> tuple[list[int], set[int]]:
        ended = asyncio.Event()
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            attackers = [asyncio.create_task(attack(client, bombs[i % 3], ended)) for i in range(8)]
            while "pets_requests_inside 0.0" in (await client.get("/metrics")).text:
                await asyncio.sleep(0.05)
            answers = [
                (await client.post("/api/predict", content=photo, headers=IMAGE)).status_code
                for _ in range(3)
            ]
            ended.set()
            return answers, set().union(*await asyncio.gather(*attackers))

    with served(trained, tmp_path, "examples=0") as server:
        answers, refused = asyncio.run(all_of_them(server.url))
        assert answers == [200] * 3
        assert refused <= {400, 413, 503}
        assert 413 in refused
        metrics = server.client.get("/metrics").text
        assert "pets_requests_inside 0.0" in metrics
        assert "pets_held_bytes 0.0" in metrics
        below = psutil.Process(server.running.pid).children(recursive=True)
        assert below
        server.stop(signal.SIGKILL)
        _, left = psutil.wait_procs(below, timeout=60)
        assert left == []


def test_who_waits_at_the_end_is_told_so(trained: Path, tmp_path: Path) -> None:
    """More large photos than can be named before the server ends."""
    content = large(48)

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/api/predict", files={"file": content})

    async def all_of_them(server: Served) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            asked = [asyncio.create_task(ask(client)) for _ in range(24)]
            async with httpx.AsyncClient(base_url=server.url) as other:
                while "pets_requests_inside 24.0" not in (await other.get("/metrics")).text:
                    await asyncio.sleep(0.05)
            os.kill(server.running.pid, signal.SIGTERM)
            return await asyncio.gather(*asked)

    with served(trained, tmp_path, "examples=0") as server:
        answers = asyncio.run(all_of_them(server))
        server.running.process.join(30)
        assert server.running.process.exitcode == 143
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        assert answer.status_code == 503
        assert answer.json() == {"error": "the server is stopping"}
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert server.running.err.read_text() == "stopped\n"
