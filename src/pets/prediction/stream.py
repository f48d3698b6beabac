"""From photos to class probabilities: threads read and decode ahead of the network."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pets.data.images import UnreadableImage, open_rgb
from pets.data.transforms import normalize, to_tensor
from pets.data.views import NAMES, Views, log_mean
from pets.models.classifier import Classifier
from pets.prediction.filesystems import is_remote, is_special, open_remote
from pets.prediction.shards import Block
from pets.training.speed import Speed

_AHEAD = 2  # batches that are read while one is in the network
_PATIENCE = 2.0  # seconds for the readers to end: longer than a photo takes to decode


@dataclass(frozen=True)
class Predicted:
    """A batch of consecutive photos of a block, the `last` one or not: probabilities (photos,
    classes), float64, NaN where the photo's error says why it could not be read."""

    block: Block
    probabilities: np.ndarray
    errors: list[str]
    last: bool


class Network:
    """A classifier on a device; views (photos, V, 3, h, w), uint8, to logits (photos * V, C)."""

    def __init__(self, model: Classifier, device: torch.device) -> None:
        self.model, self.device = model.eval().to(device), device
        self.normalize = normalize(model.preprocess)

    @torch.inference_mode()
    def __call__(self, views: Tensor) -> Tensor:
        pixels = views.to(self.device, non_blocking=True)
        return self.model(self.normalize(pixels.flatten(0, 1)))


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

    A batch never crosses the end of a block, so that a block's numbers depend on nothing else.

    Args:
        batch_size: views in one pass of the network.
        tta: how many views of a photo are averaged.
        temperature: the logits are divided by it.
        threads: that read ahead of the network; with 0 each batch is read in its turn.
        speed: is updated.
    """
    batches = _read_batches(network, blocks, max(batch_size // tta, 1), NAMES[:tta], threads)
    # A GPU gets the next batch before the numbers of this one are waited for.
    behind = 0 if network.device.type == "cpu" else 1
    in_network: deque[tuple[_Batch, list[str], Tensor | None]] = deque()

    def result() -> Predicted:
        batch, errors, logits = in_network.popleft()
        probabilities = np.full((len(errors), len(network.model.classes)), np.nan)
        if logits is not None:
            logs = log_mean(logits.float().cpu(), tta)
            readable = [not error for error in errors]
            probabilities[readable] = (logs / temperature).softmax(1).numpy()
        return Predicted(batch.block, probabilities, errors, batch.last)

    with contextlib.closing(batches):
        speed.start()
        for batch in batches:
            errors = [photo.result() for photo in batch.photos]
            speed.got_batch()
            views = batch.views
            if any(errors):
                views = views[[not error for error in errors]]
            in_network.append((batch, errors, network(views) if len(views) else None))
            if len(in_network) > behind:
                yield result()
            speed.done_batch(len(errors))
    while in_network:
        yield result()


@dataclass
class _Batch:
    """Photos being read into `views` (photos, V, 3, h, w); the result of each is its error."""

    block: Block
    views: Tensor
    photos: list[Future[str]]
    last: bool


def _read_batches(
    network: Network, blocks: Iterable[Block], size: int, names: tuple[str, ...], threads: int
) -> Generator[_Batch]:
    model = network.model
    ahead: deque[_Batch] = deque()
    readers = _Readers(max(threads, 1), Views(names, model.size, model.preprocess))
    with contextlib.closing(readers):
        for block in blocks:
            for start in range(0, len(block.files), size):
                files = block.files[start : start + size]
                shape = (len(files), len(names), 3, *model.size)
                # Pinned memory is copied to a GPU while that computes.
                views = torch.empty(
                    shape, dtype=torch.uint8, pin_memory=network.device.type == "cuda"
                )
                photos = [readers.read(file, into) for file, into in zip(files, views, strict=True)]
                ahead.append(_Batch(block, views, photos, start + size >= len(block.files)))
                if len(ahead) > (_AHEAD if threads else 0):
                    yield ahead.popleft()
        while ahead:
            yield ahead.popleft()


class _Readers:
    """Threads that decode photos: PIL and torchvision release Python's lock meanwhile.

    Not an executor: the interpreter waits for its threads, and one that hangs in a read over the
    network would keep the process alive.
    """

    def __init__(self, threads: int, views: Views) -> None:
        self._views = views
        self._tasks: SimpleQueue[tuple[Future[str], str, Tensor] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def read(self, file: str, into: Tensor) -> Future[str]:
        """Write the photo's views into a tensor (V, 3, h, w), uint8. The result is the error."""
        error: Future[str] = Future()
        self._tasks.put((error, file, into))
        return error

    def close(self) -> None:
        """Drop what has not begun, and wait a moment for the rest."""
        with contextlib.suppress(Empty):
            while True:
                self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            error, file, into = task
            try:
                into.copy_(self._views(to_tensor(_read(file))))
                error.set_result("")
            except UnreadableImage as unreadable:
                error.set_result(str(unreadable))
            except BaseException as failure:  # raised where the result is asked for
                error.set_exception(failure)


def _read(file: str) -> Image.Image:
    if is_remote(file):
        return open_rgb(file, open_remote)
    if is_special(file):
        raise UnreadableImage(f"{file}: is no regular file but a pipe, socket or device")
    return open_rgb(file)
