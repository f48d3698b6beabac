"""From uploads to answers: decoded in a few processes, named in one thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import torch

from pets.config import ServeConfig
from pets.data.images import TooManyPixels, UnreadableImage
from pets.data.transforms import CentreCrop
from pets.serving.batching import Batcher
from pets.serving.decoding import Decoded, Decoders, TooSlow
from pets.serving.limits import Held, Refusal
from pets.serving.look import Eye, Found, Photo
from pets.serving.meters import Meters
from pets.serving.schema import Answer, Box, Looked, Named, PhotoAnswer, PhotoProblem, Query
from pets.serving.upload import Upload
from pets.serving.worker import SERVED
from pets.system.cpu import available_cores

_PROCESSES = 4  # that decode, at most
_LARGE = 16_000_000  # pixels; larger photos are decoded one after another
_FIRST = 0.2  # of the time that a photo may take; who takes longer waits with the large ones


class Answers:
    """Answers requests until it is closed."""

    def __init__(self, eye: Eye, config: ServeConfig, meters: Meters) -> None:
        self._eye, self._config, self._meters = eye, config, meters
        self._classes = eye.model.classes
        self._waiting: set[asyncio.Timeout] = set()
        self._refusing = False
        self._network: Batcher[Photo, Found] = Batcher(
            self._look, config.max_batch, config.batch_wait_ms / 1000
        )
        # Before the other threads are made, so that it computes on all cores.
        self._network.submit(eye.blank).result()
        self._crop = CentreCrop(eye.model.size, eye.model.preprocess)
        # One more than heavy photos can take.
        self._processes = min(_PROCESSES, max(available_cores(), 2))
        self._decode = Decoders(self._processes, self._crop)
        self._heavy = asyncio.Semaphore(1)

    @property
    def alive(self) -> bool:
        """Whether photos are named."""
        return self._network.alive

    def refuse(self) -> None:
        """From now on no request is waited for, nor those that are waiting."""
        self._refusing = True
        for waiting in self._waiting:
            if not waiting.expired():
                waiting.reschedule(0)

    async def start(self) -> None:
        """What has to be there before the first request."""
        await self._decode.start()

    def close(self) -> None:
        """End the processes at once, the thread after what it is doing."""
        self._decode.close()
        self._network.close()

    async def answer(self, uploads: list[Upload], held: Held, query: Query) -> Answer:
        """A result a photo. Raises Refusal where the only one cannot be read, or all take too
        long."""
        height, width = self._crop.size
        held.add(3 * height * width * len(uploads))
        # Who sends many photos at once does not go before all others with all of them.
        turns = asyncio.Semaphore(self._processes)
        seconds = self._config.limits.seconds
        try:
            async with self._within(seconds):
                results = await asyncio.gather(*(self._result(u, query, turns) for u in uploads))
        except TimeoutError as error:
            if self._refusing:
                raise Refusal(503, "the server is stopping") from error
            raise Refusal(503, f"too busy: no answer within {seconds:g} seconds") from error
        if len(results) == 1 and isinstance(only := results[0], PhotoProblem):
            raise Refusal(only.status, only.error)
        return Answer(results=results)

    @contextlib.asynccontextmanager
    async def _within(self, seconds: float) -> AsyncGenerator[None, None]:
        async with asyncio.timeout(0 if self._refusing else seconds) as waiting:
            self._waiting.add(waiting)
            try:
                yield
            finally:
                self._waiting.discard(waiting)

    async def _result(
        self, upload: Upload, query: Query, turns: asyncio.Semaphore
    ) -> PhotoAnswer | PhotoProblem:
        try:
            async with turns:
                decoded = await self._decoded(upload)
        except UnreadableImage as error:
            self._meters.photos.labels("unreadable").inc()
            return _problem(upload, error)
        found = await self._network(Photo(decoded.pixels, query.gradcam))
        self._meters.photos.labels("named").inc()
        return self._as_answer(upload, decoded, found, query.top_k)

    async def _decoded(self, upload: Upload) -> Decoded:
        """What is large, or takes long, is tried again, one after another, so that it neither fills
        the memory nor holds up the others."""
        limits = self._config.limits
        most = int(limits.megapixels * 1e6)
        try:
            return await self._decode(
                upload.content, upload.name, min(_LARGE, most), limits.decode_seconds * _FIRST
            )
        except (TooManyPixels, TooSlow):
            async with self._heavy:
                return await self._decode(upload.content, upload.name, most, limits.decode_seconds)

    def _look(self, photos: list[Photo]) -> list[Found]:
        self._meters.batches.observe(len(photos))
        return self._eye.look(photos)

    def _as_answer(self, upload: Upload, photo: Decoded, found: Found, top_k: int) -> PhotoAnswer:
        pairs = sorted(zip(found.probabilities, self._classes, strict=True), reverse=True)
        height, width = self._crop.part_of(photo.height, photo.width)
        return PhotoAnswer(
            file=upload.name,
            width=photo.width,
            height=photo.height,
            seen=Box(left=(1 - width) / 2, top=(1 - height) / 2, width=width, height=height),
            sure=pairs[0][0] >= self._config.threshold,
            predictions=[Named(name=name, probability=p) for p, name in pairs[:top_k]],
            gradcam=None if found.cam is None else _looked(found.cam, pairs[0][1]),
        )


def _looked(cam: torch.Tensor, name: str) -> Looked:
    height, width = cam.shape
    values = [round(value, 3) for value in cam.flatten().tolist()]
    return Looked(name=name, width=width, height=height, values=values)


def _problem(upload: Upload, error: UnreadableImage) -> PhotoProblem:
    line, status = str(error), 400
    if isinstance(error, TooManyPixels | TooSlow):
        status = 413
        if line.endswith("megapixels"):
            line += " (limits.megapixels)"
    elif "not a known format" in line:
        line += f"; expected {', '.join(SERVED[:-1])} or {SERVED[-1]}"
    return PhotoProblem(file=upload.name, error=line, status=status)
