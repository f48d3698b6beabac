"""From uploads to predictions: decoded in several processes, classified in one thread."""

from __future__ import annotations

import asyncio

import torch

from pets.config import ServeConfig
from pets.data.transforms import CentreCrop
from pets.serving.batching import Batcher
from pets.serving.decoding import Decoded, Decoder
from pets.serving.metrics import BATCHES, PHOTOS
from pets.serving.predictor import Photo, Prediction, Predictor
from pets.serving.responses import (
    Box,
    Cam,
    ClassProbability,
    Judged,
    PhotoError,
    PhotoPrediction,
    Predictions,
    Query,
    Refusal,
)
from pets.serving.upload import Upload
from pets.system.cpu import available_cores

_MAX_DECODERS = 4  # processes
_LARGE = 16_000_000  # pixels; larger photos are decoded one at a time
_FIRST_TRY = 0.2  # share of the time limit; slower photos are queued with the large ones


class Service:
    """Decodes and classifies uploads until it is closed."""

    def __init__(self, predictor: Predictor, config: ServeConfig) -> None:
        self._predictor, self._config = predictor, config
        self._batcher: Batcher[Photo, Prediction] = Batcher(self._predict, config.max_batch)
        # Before other threads exist, so that the network uses all cores.
        size = predictor.model.size
        self._batcher.warm_up(Photo(torch.zeros(3, *size, dtype=torch.uint8), True))
        self._crop = CentreCrop(size, predictor.model.preprocess)
        # At least two: one may be busy with a large photo.
        self._processes = min(_MAX_DECODERS, max(available_cores(), 2))
        self._decoders = [Decoder(self._crop) for _ in range(self._processes)]
        # Last in, first out: idle decoders may be swapped out or not started yet.
        self._idle: asyncio.LifoQueue[Decoder] = asyncio.LifoQueue()
        for decoder in self._decoders:
            self._idle.put_nowait(decoder)
        self._one_large = asyncio.Semaphore(1)

    async def start(self) -> None:
        """Start the decoder processes and the batching task."""
        self._batches = asyncio.create_task(self._batcher.run())
        await asyncio.gather(*(decoder.start() for decoder in self._decoders))

    def close(self) -> None:
        """Kill the decoder processes, and stop the network's thread after its current batch."""
        for decoder in self._decoders:
            decoder.end()
        self._batcher.close()

    async def predict(self, uploads: list[Upload], query: Query) -> Predictions:
        """Return a result for each photo.

        Raises:
            Refusal: The only photo cannot be read, or all together take too long.
        """
        # A request with many photos must not fill the decoders' queue ahead of other requests.
        slots = asyncio.Semaphore(self._processes)
        seconds = self._config.limits.seconds
        try:
            async with asyncio.timeout(seconds):
                results = await asyncio.gather(*(self._result(u, query, slots) for u in uploads))
        except TimeoutError as error:
            raise Refusal(503, f"too busy: no answer within {seconds:g} seconds") from error
        if len(results) == 1 and isinstance(only := results[0], PhotoError):
            raise Refusal(only.status, only.error)
        return Predictions(results=results)

    async def _result(
        self, upload: Upload, query: Query, slots: asyncio.Semaphore
    ) -> PhotoPrediction | PhotoError:
        try:
            async with slots:
                photo = await self._decode(upload)
        except Refusal as refusal:
            if refusal.status == 503:
                raise
            PHOTOS.labels("unreadable").inc()
            return PhotoError(file=upload.name, error=refusal.line, status=refusal.status)
        prediction = await self._batcher(Photo(photo.pixels, query.gradcam))
        PHOTOS.labels("named").inc()
        return self._response(upload, photo, prediction, query.top_k)

    async def _decode(self, upload: Upload) -> Decoded:
        """Decode a photo. Large or slow photos are retried one at a time, so that they neither
        fill the memory nor block other photos."""
        limits = self._config.limits
        pixels, seconds = int(limits.megapixels * 1e6), limits.decode_seconds
        try:
            return await self._decode_once(upload, min(_LARGE, pixels), seconds * _FIRST_TRY)
        except Refusal as refusal:
            if refusal.status != 413:
                raise
        async with self._one_large:
            return await self._decode_once(upload, pixels, seconds)

    async def _decode_once(self, upload: Upload, max_pixels: int, seconds: float) -> Decoded:
        decoder = await self._idle.get()
        try:
            return await decoder(upload, max_pixels, seconds)
        finally:
            self._idle.put_nowait(decoder)

    def _predict(self, photos: list[Photo]) -> list[Prediction]:
        BATCHES.observe(len(photos))
        return self._predictor.predict(photos)

    def _response(
        self, upload: Upload, photo: Decoded, prediction: Prediction, top_k: int
    ) -> PhotoPrediction:
        classes, cam = self._predictor.model.classes, prediction.cam
        ranked = sorted(zip(prediction.probabilities, classes, strict=True), reverse=True)
        judged = prediction.judged
        height, width = self._crop.part_of(photo.height, photo.width)
        return PhotoPrediction(
            file=upload.name,
            width=photo.width,
            height=photo.height,
            seen=Box(left=(1 - width) / 2, top=(1 - height) / 2, width=width, height=height),
            sure=ranked[0][0] >= self._config.threshold and not (judged and judged["unsure"]),
            predictions=[ClassProbability(name=name, probability=p) for p, name in ranked[:top_k]],
            judged=None if judged is None else Judged(**judged),
            gradcam=None if cam is None else _cam(cam, ranked[0][1]),
        )


def _cam(cam: torch.Tensor, name: str) -> Cam:
    height, width = cam.shape
    values = [round(value, 3) for value in cam.flatten().tolist()]
    return Cam(name=name, width=width, height=height, values=values)
