"""Decode uploaded photos in separate processes, which are killed when a photo takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import signal
import socket
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess

import torch
from torch import Tensor

from pets.data.transforms import CentreCrop
from pets.io.serialize import to_json
from pets.serving.decoder_process import run
from pets.serving.responses import Refusal
from pets.serving.upload import Upload

_CONTEXT = multiprocessing.get_context("forkserver")


def preload() -> None:
    """Start the fork server, which imports what the decoders need."""
    _CONTEXT.set_forkserver_preload(["pets.cli.main", "pets.serving.decoder_process"])
    forkserver.ensure_running()


@dataclass(frozen=True)
class Decoded:
    """The pixels for the network (3, h, w), uint8, and the size of the whole photo."""

    pixels: Tensor
    height: int
    width: int


class Decoder:
    """A process that decodes one photo at a time; restarted after it has died.

    It is forked from a process that has imported torch (`preload`), so that it starts within
    milliseconds. It dies with the server, even if the server is killed.
    """

    def __init__(self, crop: CentreCrop) -> None:
        self._crop = crop
        self._process: BaseProcess | None = None

    async def start(self) -> None:
        """Start the process early, so that the first photo does not wait for it."""
        ours, theirs = socket.socketpair()
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        with theirs:
            process = _CONTEXT.Process(target=run, args=(theirs, self._crop), daemon=True)
            try:
                process.start()
            except OSError as error:
                self._writer.transport.abort()
                line = f"no process to decode the photo ({error.strerror}); try again"
                raise Refusal(503, line) from error
        self._process = process
        await self._reader.readuntil(b"\n")

    async def __call__(self, upload: Upload, max_pixels: int, seconds: float) -> Decoded:
        """Decode and crop a photo; cancelling the call kills the process.

        Args:
            upload: The file, and its name for error messages.
            max_pixels: Maximum number of pixels of the whole photo.
            seconds: CPU time limit, plus 20 % per megapixel.

        Raises:
            Refusal: 400 if the photo cannot be read, 413 if it is too large or takes too long, 503
                if no process can be started.
        """
        request = {
            "bytes": len(upload.content), "name": upload.name, "max_pixels": max_pixels,
            "seconds": seconds,
        }  # fmt: skip
        try:
            if self._process is None:
                await self.start()
            self._writer.write(to_json(request).encode() + b"\n")
            self._writer.write(upload.content)
            await self._writer.drain()
            answer = json.loads(await self._reader.readuntil(b"\n"))
            if "error" in answer:
                raise Refusal(413 if answer["status"] == 413 else 400, str(answer["error"]))
            height, width = self._crop.size
            pixels = bytearray(await self._reader.readexactly(3 * height * width))
            shaped = torch.frombuffer(pixels, dtype=torch.uint8).view(3, height, width)
            return Decoded(shaped, answer["height"], answer["width"])
        except Refusal:
            raise
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            assert self._process is not None
            self._process.join(5)
            timed_out = self._process.exitcode == -signal.SIGPROF
            self.end()
            if timed_out:
                line = f"{upload.name}: takes too long to decode (limits.decode_seconds)"
                raise Refusal(413, line) from error
            line = f"{upload.name}: cannot be read as an image (its decoder ended)"
            raise Refusal(400, line) from error
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill the process."""
        if self._process is not None:
            if self._process.is_alive():
                self._process.kill()
            with contextlib.suppress(RuntimeError):  # on shutdown the event loop is closed
                self._writer.transport.abort()
            self._process = None
