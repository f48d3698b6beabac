"""From uploads to answers: decoded in a few threads, named in one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

import torch

from pets.config import ServeConfig
from pets.cores import available_cores
from pets.data.images import FORMATS, TooManyPixels, UnreadableImage
from pets.serving.batching import Batcher
from pets.serving.limits import Refusal
from pets.serving.look import Eye, Found, Photo
from pets.serving.meters import Meters
from pets.serving.schema import Answer, Box, Looked, Named, PhotoAnswer, PhotoProblem, Query
from pets.serving.upload import Upload

_DECODERS = (
    4  # threads at most; each may hold 15 bytes for every pixel of a photo, 25 of a 16-bit one
)
_LARGE = 16_000_000  # pixels; larger photos are decoded one after another, beside the others


class _Lane:
    """Threads that decode photos of up to `max_pixels`; `room` for what waits for the network."""

    def __init__(self, threads: int, room: int, max_pixels: int) -> None:
        # The network's thread computes on all cores; these on one.
        self.threads = ThreadPoolExecutor(threads, "decode", lambda: torch.set_num_threads(1))
        # More decoded photos would only fill the memory.
        self.room, self.max_pixels = asyncio.Semaphore(room), max_pixels


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
        most = int(config.limits.megapixels * 1e6)
        threads = min(_DECODERS, available_cores())
        self._lane = _Lane(threads, 4 * config.max_batch, min(_LARGE, most))
        # Of their own, so that a few large photos neither fill the memory nor hold up small ones.
        self._large = _Lane(1, 2, most)

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

    def close(self) -> None:
        """End the threads after what they are doing."""
        for lane in (self._lane, self._large):
            lane.threads.shutdown(cancel_futures=True)
        self._network.close()

    async def answer(self, uploads: list[Upload], query: Query) -> Answer:
        """A result a photo. Raises Refusal where the only one cannot be read, or all take too
        long."""
        seconds = self._config.limits.seconds
        try:
            async with self._within(seconds):
                results = await asyncio.gather(*(self._result(u, query) for u in uploads))
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

    async def _result(self, upload: Upload, query: Query) -> PhotoAnswer | PhotoProblem:
        try:
            try:
                photo, found = await self._named(upload, query, self._lane)
            except TooManyPixels:
                photo, found = await self._named(upload, query, self._large)
        except UnreadableImage as error:
            self._meters.photos.labels("unreadable").inc()
            return _problem(upload, error)
        self._meters.photos.labels("named").inc()
        return self._as_answer(upload, photo, found, query.top_k)

    async def _named(self, upload: Upload, query: Query, lane: _Lane) -> tuple[Photo, Found]:
        async with lane.room:
            photo = await asyncio.get_running_loop().run_in_executor(
                lane.threads, self._eye.read,
                upload.content, upload.name, query.gradcam, lane.max_pixels,
            )  # fmt: skip
            return photo, await self._network(photo)

    def _look(self, photos: list[Photo]) -> list[Found]:
        self._meters.batches.observe(len(photos))
        return self._eye.look(photos)

    def _as_answer(self, upload: Upload, photo: Photo, found: Found, top_k: int) -> PhotoAnswer:
        pairs = sorted(zip(found.probabilities, self._classes, strict=True), reverse=True)
        height, width = photo.seen
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
    if isinstance(error, TooManyPixels):
        status = 413
        if line.endswith("megapixels"):
            line += " (limits.megapixels)"
    elif "not a known format" in line:
        line += f"; expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    return PhotoProblem(file=upload.name, error=line, status=status)
