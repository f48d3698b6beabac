"""Data sets of photos, and the order in which an epoch draws them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pets.data.images import UnreadableImage, open_pixels
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
            return to_tensor(open_pixels(self.paths[index]))
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


# How often a class is drawn: in proportion to this power of its number of photos.
_POWERS = {"weighted": 0.5, "balanced": 0.0}


class EpochSampler(Sampler[Draw]):
    """A new order every epoch, which depends only on the seed and the epoch.

    Each draw carries the seed of its photo's augmentation. So a photo looks the same in an epoch,
    whatever the number of workers and the draws before it. Lightning calls `set_epoch` before each
    epoch, with the epoch's number within the stage.

    With several ranks each draws every `ranks`-th photo of the same order; the remainder, less than
    one photo per rank, is skipped in this epoch.

    A resumed run starts in `epoch`, of which each rank has already drawn `drawn` photos.

    `targets` are the class indices of all photos, `kind` is the config's `data.sampler`.
    """

    def __init__(
        self,
        targets: Sequence[int] | Tensor,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        epoch: int = 0,
        drawn: int = 0,
        kind: str = "shuffle",
    ) -> None:
        self.targets, self.kind = torch.as_tensor(targets), kind
        self.seed, self.epoch = seed, epoch
        self.rank, self.ranks = rank, ranks
        self.begun, self.drawn = epoch, drawn

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Photos of a whole epoch, even if a resumed one has fewer left."""
        return len(self.targets) // self.ranks

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        rows = torch.arange(len(self.targets))
        if self.kind != "shuffle":
            rows = _rows_by_class(self.targets, _POWERS[self.kind], generator)
        order = rows[torch.randperm(len(rows), generator=generator)].tolist()
        drawn = self.drawn if self.epoch == self.begun else 0
        mine = slice(self.rank, None, self.ranks)
        for row, before in [*zip(order, _earlier(order), strict=True)][mine][drawn : len(self)]:
            # A photo that is drawn again is augmented differently.
            again = (before,) if before else ()
            yield Draw(row, derive(self.seed, "augment", self.epoch, row, *again))


def _rows_by_class(targets: Tensor, power: float, generator: torch.Generator) -> Tensor:
    """Return as many rows as there are photos, with each class's share of them.

    A class is drawn as often as its share demands, rounded up or down by chance, and no photo of it
    again before all others of it are.
    """
    counts = targets.bincount()
    shares = counts.double() ** power
    chance = torch.rand((), generator=generator, dtype=torch.float64)
    ends = (len(targets) * shares.cumsum(0) / shares.sum() + chance).long()
    ends[-1] = len(targets)
    draws, rows = ends.diff(prepend=torch.zeros(1, dtype=torch.long)), []
    by_class = torch.split(targets.argsort(stable=True), counts.tolist())
    for photos, number in zip(by_class, draws.tolist(), strict=True):
        passes = max(math.ceil(number / len(photos)), 1)
        orders = [torch.randperm(len(photos), generator=generator) for _ in range(passes)]
        rows.append(photos[torch.cat(orders)[:number]])
    return torch.cat(rows)


def _earlier(order: Sequence[int]) -> Iterator[int]:
    """Yield, for every draw, how many earlier draws were of the same photo."""
    times: Counter[int] = Counter()
    for row in order:
        yield times[row]
        times[row] += 1
