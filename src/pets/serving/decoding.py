"""Decode uploaded photos in processes of their own, which end when a photo takes too long."""

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
    """Start the process that decoders are forked from; it imports what they need."""
    _CONTEXT.set_forkserver_preload(["pets.cli.main", "pets.serving.decoder_process"])
    forkserver.ensure_running()


@dataclass(frozen=True)
class Decoded:
    """The pixels for the network (3, h, w), uint8, and the size of the whole photo."""

    pixels: Tensor
    height: int
    width: int


class Decoder:
    """A process that decodes one photo at a time; started again after it has ended.

    It is forked from one that has imported torch (`preload`), so that it starts within
    milliseconds. It ends with the server, however that ends.
    """

    def __init__(self, crop: CentreCrop) -> None:
        self._crop = crop
        self._process: BaseProcess | None = None

    async def start(self) -> None:
        """Start the process, so that the first photo need not wait."""
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
        """Decode and crop a photo; a call that is cancelled ends the process.

        Args:
            upload: the file, and what errors call it.
            max_pixels: of the whole photo.
            seconds: of CPU time, and a fifth more for each megapixel.

        Raises:
            Refusal: 400 where it cannot be read, 413 where it is too large or takes too long, 503
                where no process can be started.
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
            late = self._process.exitcode == -signal.SIGPROF
            self.end()
            if late:
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
            with contextlib.suppress(RuntimeError):  # when the server ends, its loop has ended
                self._writer.transport.abort()
            self._process = None
