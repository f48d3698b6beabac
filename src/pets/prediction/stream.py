"""From photos to class probabilities; threads read and decode ahead of the network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pets.data.images import UnreadableImage, open_pixels
from pets.data.transforms import normalize, to_tensor
from pets.data.views import NAMES, Views, log_mean
from pets.models.classifier import Classifier, as_vectors
from pets.prediction.remote import is_remote, open_remote
from pets.prediction.shards import Block
from pets.prediction.sources import is_special
from pets.training.speed import Speed
from pets.unsure.rule import Unsure

Item = TypeVar("Item")
_PREFETCH = 2  # batches read while one is in the network


@dataclass(frozen=True)
class Predicted:
    """Predictions for a batch of consecutive photos of a block.

    They are probabilities (photos, classes) and distances (photos,) by the network's rule, float64,
    NaN for photos with an error or without a rule; `last` marks the block's last batch.
    """

    block: Block
    probabilities: np.ndarray
    distances: np.ndarray
    errors: list[str]
    last: bool


class Network:
    """A classifier on a device, and the rule that says what it is not sure of, if there is one."""

    def __init__(self, model: Classifier, device: torch.device, rule: Unsure | None = None) -> None:
        self.model, self.device, self.rule = model.eval().to(device), device, rule
        self.normalize = normalize(model.preprocess)

    @torch.inference_mode()
    def __call__(self, views: Tensor) -> tuple[Tensor, Tensor | None]:
        """From views (photos, V, 3, h, w), uint8, return logits (photos * V, classes) and, for the
        rule, pooled features (photos * V, C)."""
        pixels = views.to(self.device, non_blocking=True)
        photos = self.normalize(pixels.flatten(0, 1))
        if self.rule is None:
            return self.model(photos), None
        pooled = self.model.pooled(photos)
        return self.model.head(pooled), as_vectors(pooled)


@dataclass
class _Batch:
    """Photos being read into `views` (photos, V, 3, h, w); `reading` yields each one's error."""

    block: Block
    last: bool
    views: Tensor
    reading: list[AsyncResult[str]]
    errors: list[str]
    logits: Tensor | None = None  # of the readable photos
    features: Tensor | None = None


def predict_blocks(
    network: Network,
    blocks: Iterable[Block],
    batch_size: int,
    tta: int,
    temperature: float,
    threads: int,
    speed: Speed,
) -> Iterator[Predicted]:
    """Predict the photos of all blocks, in their order.

    A batch never crosses the end of a block, so that a block's results do not depend on the others.

    Args:
        network: The classifier.
        blocks: Blocks of photos.
        batch_size: Views per forward pass.
        tta: Number of views averaged per photo.
        temperature: Divisor of the logits.
        threads: Number of threads that read ahead of the network; 0: no reading ahead.
        speed: Updated after every batch.
    """
    model = network.model
    crop = Views(NAMES[:tta], model.size, model.preprocess)
    size = max(batch_size // tta, 1)
    on_cpu = network.device.type == "cpu"

    def read(block: Block, start: int) -> _Batch:
        files = block.files[start : start + size]
        shape = (len(files), tta, 3, *model.size)
        # Pinned memory is copied to the GPU asynchronously.
        views = torch.empty(shape, dtype=torch.uint8, pin_memory=network.device.type == "cuda")
        reading = [
            pool.apply_async(_read, (file, crop, into))
            for file, into in zip(files, views, strict=True)
        ]
        return _Batch(block, start + size >= len(block.files), views, reading, [])

    def compute(batch: _Batch) -> _Batch:
        batch.errors = [photo.get() for photo in batch.reading]
        speed.got_batch()
        readable = batch.views
        if any(batch.errors):
            readable = readable[[not error for error in batch.errors]]
        if len(readable):
            batch.logits, batch.features = network(readable)
        return batch

    # The pool's threads are daemons: one that hangs in a remote read does not block the exit.
    with _pool(max(threads, 1)) as pool:
        batches = (read(b, start) for b in blocks for start in range(0, len(b.files), size))
        read_ahead = map(compute, _prefetch(batches, _PREFETCH if threads else 0))
        speed.start()
        # A GPU gets the next batch before the results of this one are copied back.
        for batch in _prefetch(read_ahead, 0 if on_cpu else 1):
            probabilities = np.full((len(batch.errors), len(model.classes)), np.nan)
            distances = np.full(len(batch.errors), np.nan)
            readable = [not error for error in batch.errors]
            if batch.logits is not None:
                logs = log_mean(batch.logits.float().cpu(), tta)
                probabilities[readable] = (logs / temperature).softmax(1).numpy()
            if network.rule is not None and batch.features is not None:
                distances[readable] = network.rule.distances(batch.features.float().cpu().numpy())
            yield Predicted(batch.block, probabilities, distances, batch.errors, batch.last)
            speed.done_batch(len(batch.errors))


def _pool(threads: int) -> ThreadPool:
    """Start threads in which torch computes with one thread each, not with one per core: sixteen
    that read would be joined by 240 that copy pixels."""
    computing, started = torch.get_num_threads(), threading.Barrier(threads + 1)

    def alone() -> None:
        torch.set_num_threads(1)  # of this thread, and of those that ask later
        torch.get_num_threads()  # asks, so that it stays
        started.wait()

    pool = ThreadPool(threads, alone)
    started.wait()
    torch.set_num_threads(computing)
    return pool


def _prefetch(items: Iterator[Item], ahead: int) -> Iterator[Item]:
    """Yield the items, drawing `ahead` more from the iterator before yielding each."""
    pending: deque[Item] = deque()
    for item in items:
        pending.append(item)
        if len(pending) > ahead:
            yield pending.popleft()
    yield from pending


def _read(file: str, views: Views, into: Tensor) -> str:
    """Write a photo's views into a tensor (V, 3, h, w), uint8. Returns the error, "" if none."""
    if not is_remote(file) and is_special(file):
        return f"{file}: is not a regular file but a pipe, socket or device"
    try:
        photo = open_pixels(file, open_remote if is_remote(file) else None)
    except UnreadableImage as error:
        return str(error)
    for name, place in zip(views.names, into, strict=True):
        place.copy_(views.view(name, to_tensor(photo)))
    return ""
