"""Photos to class probabilities: threads read and decode ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pets.data.transforms import normalize
from pets.data.views import NAMES, Views, log_mean
from pets.models.classifier import Classifier
from pets.prediction.blocks import Block
from pets.prediction.readers import Readers
from pets.training.speed import Speed

_AHEAD = 2  # batches that are read while one is with the network


@dataclass(frozen=True)
class Named:
    """What the network says of some consecutive photos of a block: probabilities (photos, classes)
    in doubles, NaN where `errors` says why a photo could not be read; `last` of its block."""

    block: Block
    probabilities: np.ndarray
    errors: list[str]
    last: bool


class Network:
    """Views (photos, V, 3, h, w), uint8, to logits (photos * V, classes), on a device."""

    def __init__(self, model: Classifier, device: torch.device) -> None:
        self.model, self.device = model.eval().to(device), device
        self.normalize = normalize(model.preprocess)

    @torch.inference_mode()
    def __call__(self, views: Tensor) -> Tensor:
        pixels = views.to(self.device, non_blocking=True)
        return self.model(self.normalize(pixels.flatten(0, 1)))


@dataclass
class _Batch:
    """Photos on their way: a thread writes each into its place of `views`."""

    block: Block
    views: Tensor
    waiting: list[Future[str]]
    last: bool

    def read(self) -> list[str]:
        """Why each photo could not be read, "" for those that could; waits for all of them."""
        return [photo.result() for photo in self.waiting]


def name_photos(
    network: Network,
    blocks: Iterable[Block],
    batch_size: int,
    tta: int,
    temperature: float,
    threads: int,
    speed: Speed,
) -> Iterator[Named]:
    """What is on the photos of all blocks, in their order; batches never reach over a block's end,
    so that its numbers depend on nothing else.

    The mean is over the first `tta` views; `batch_size` photos and views pass at once; `threads`
    read ahead, with none of them each photo is read when its turn comes. `speed` is kept up.
    """
    read = _batches(network, blocks, max(batch_size // tta, 1), NAMES[:tta], threads)
    # A GPU has the next batch before the numbers of this one are waited for.
    behind = 0 if network.device.type == "cpu" else 1
    with_network: deque[tuple[_Batch, list[str], Tensor | None]] = deque()

    def numbers() -> Named:
        batch, errors, logits = with_network.popleft()
        found = np.full((len(errors), len(network.model.classes)), np.nan)
        if logits is not None:
            logs = log_mean(logits.float().cpu(), tta)
            good = [not error for error in errors]
            found[good] = (logs / temperature).softmax(1).numpy()
        return Named(batch.block, found, errors, batch.last)

    with closing(read):
        speed.start()
        for batch in read:
            errors = batch.read()
            speed.got_batch()
            views = batch.views
            if any(errors):
                views = views[[not error for error in errors]]
            with_network.append((batch, errors, network(views) if len(views) else None))
            if len(with_network) > behind:
                yield numbers()
            speed.done_batch(len(errors))
    while with_network:
        yield numbers()


def _batches(
    network: Network, blocks: Iterable[Block], size: int, names: tuple[str, ...], threads: int
) -> Generator[_Batch]:
    """Batches whose photos are being read, with others behind them."""
    model = network.model
    views = Views(names, model.size, model.preprocess)
    ahead: deque[_Batch] = deque()
    with closing(Readers(max(threads, 1), views)) as readers:
        for block in blocks:
            for start in range(0, len(block.files), size):
                files = block.files[start : start + size]
                shape = (len(files), len(names), 3, *model.size)
                # Pinned memory is copied to a GPU while that computes.
                pinned = network.device.type == "cuda"
                pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
                waiting = [
                    readers.read(file, into) for file, into in zip(files, pixels, strict=True)
                ]
                last = start + size >= len(block.files)
                ahead.append(_Batch(block, pixels, waiting, last))
                if len(ahead) > (_AHEAD if threads else 0):
                    yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
