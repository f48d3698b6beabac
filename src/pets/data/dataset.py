"""Data sets of photos, and the order in which an epoch draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pets.data.images import UnreadableImage, open_rgb
from pets.data.transforms import to_tensor
from pets.seeding import derive, torch_stream


class Draw(NamedTuple):
    """The index of the next photo, and the seed of its augmentation."""

    row: int
    seed: int


class PhotoFiles(Sequence[Tensor]):
    """Photos read from files: uint8 (3, h, w). Raises UnreadableImage, naming the file."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        try:
            return to_tensor(open_rgb(self.paths[index]))
        except UnreadableImage as error:
            raise UnreadableImage(f"{error}; data.on_bad_image=skip leaves it out") from error


class PhotoDataset(Dataset[tuple[Any, int]]):
    """(transformed photo, class index) by index or `Draw`, whose seed sets the augmentation."""

    def __init__(
        self, photos: Sequence[Tensor], targets: Sequence[int], transform: Callable[[Tensor], Any]
    ) -> None:
        self.photos, self.targets, self.transform = photos, list(targets), transform

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, draw: int | Draw) -> tuple[Any, int]:
        row, seed = draw if isinstance(draw, Draw) else (draw, 0)
        photo = self.photos[row]
        with torch_stream(seed):
            return self.transform(photo), self.targets[row]


class EpochSampler(Sampler[Draw]):
    """A new order every epoch, which depends only on the seed and the epoch.

    Each draw carries the seed of its photo's augmentation. So a photo looks the same in an epoch,
    whatever the number of workers and the draws before it. Lightning calls `set_epoch` before each
    epoch, with the epoch's number within the stage.

    With several ranks each draws every `ranks`-th photo of the same order; the remainder, less than
    one photo per rank, is skipped in this epoch.

    A resumed run starts in `epoch`, of which each rank has already drawn `drawn` photos.
    """

    def __init__(
        self, length: int, seed: int, rank: int = 0, ranks: int = 1, epoch: int = 0, drawn: int = 0
    ) -> None:
        self.length, self.seed, self.epoch = length, seed, epoch
        self.rank, self.ranks = rank, ranks
        self.begun, self.drawn = epoch, drawn

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Photos of a whole epoch, even if a resumed one has fewer left."""
        return self.length // self.ranks

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        order = torch.randperm(self.length, generator=generator).tolist()
        drawn = self.drawn if self.epoch == self.begun else 0
        for row in order[self.rank :: self.ranks][drawn : len(self)]:
            yield Draw(row, derive(self.seed, "augment", self.epoch, row))
