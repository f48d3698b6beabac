"""How fast `pets serve` answers, for clients that each send one photo after another; and LitServe
with the same network, for its dynamic batching.

python bench/serve.py --run outputs/<run> --photos <folder> [--sides pets litserve] [words ...]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

ON_LITSERVE = Path(__file__).with_name("serve_on_litserve.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--sides", nargs="+", default=["pets"], choices=["pets", "litserve"])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given, words = parser.parse_known_args()
    photos = [file.read_bytes() for file in sorted(given.photos.glob("*.jpg"))[:100]]
    print(f"{len(os.sched_getaffinity(0))} cores; {len(photos)} photos, {given.seconds:g} s each\n")
    print("| side | clients | requests/s | p50, ms | p99, ms | not answered | load before |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for _ in range(given.rounds):
        for side in given.sides:
            load = os.getloadavg()[0]
            with server(side, given.run, words) as (port, path):
                asyncio.run(drive(port, path, photos, max(given.clients), 3))  # warm
                for clients in given.clients:
                    began = time.perf_counter()
                    times, failed = asyncio.run(drive(port, path, photos, clients, given.seconds))
                    # What is under way at the end is waited for, and counts.
                    row = len(times) / (time.perf_counter() - began), *quantiles(times)
                    found.setdefault((side, clients), []).append(row)
                    numbers = f"{row[0]:.1f} | {row[1]:.0f} | {row[2]:.0f} | {failed} | {load:.1f}"
                    print(f"| {side} | {clients} | {numbers} |", flush=True)
    print("\n| side | clients | requests/s | p50, ms | p99, ms |")
    print("| --- | --- | --- | --- | --- |")
    for (side, clients), rows in found.items():
        cells = [
            f"{statistics.median(c):.{digits}f} ({min(c):.{digits}f} to {max(c):.{digits}f})"
            for c, digits in zip(zip(*rows, strict=True), (1, 0, 0), strict=True)
        ]
        print(f"| {side} | {clients} | {' | '.join(cells)} |")


@contextmanager
def server(side: str, run: Path, words: list[str]) -> Iterator[tuple[int, str]]:
    """A server that is ready: its port and the path to send photos to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if side == "pets":
        command = [sys.executable, "-m", "pets", "serve", f"run={run}", f"port={port}", *words]
        path = "/api/predict"
    else:
        command = [sys.executable, str(ON_LITSERVE), str(run), str(port)]
        path = "/predict"
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not ready(port):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)}: ended")
            time.sleep(0.2)
        yield port, path
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        with suppress(ProcessLookupError):  # LitServe's workers outlive it
            os.killpg(process.pid, signal.SIGKILL)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


async def drive(
    port: int, path: str, photos: list[bytes], clients: int, seconds: float
) -> tuple[list[float], int]:
    """Seconds of each answer, and how many were none; a connection a client, kept."""
    times: list[float] = []
    failed = 0
    until = time.perf_counter() + seconds
    requests = [request(path, photo) for photo in photos]

    async def client(number: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = cycle(requests[number % len(requests) :] + requests[: number % len(requests)])
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(next(turn))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            if b" 200 " in head[:15]:
                times.append(time.perf_counter() - began)
            else:
                failed += 1
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return times, failed


def request(path: str, photo: bytes) -> bytes:
    """A form with the photo."""
    backbone = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\n' + photo
    )
    backbone += b"\r\n--b--\r\n"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(backbone)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    return head.encode() + backbone


def quantiles(times: list[float]) -> tuple[float, ...]:
    """The median and the 99th of a hundred, in milliseconds."""
    ordered = sorted(times) or [float("nan")]
    return tuple(1000 * ordered[min(len(ordered) * n // 100, len(ordered) - 1)] for n in (50, 99))


if __name__ == "__main__":
    main()
