"""Activations of a frozen backbone as a data set, instead of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pets.data.content_hash import read_contents
from pets.data.dataset import Draw
from pets.errors import DataError

VALUES = "values.npy"


@dataclass(frozen=True)
class Activations:
    """Activations of photos.

    Attributes:
        values: (photos, views, ...).
        rows: the row of each photo by content hash; photos with the same content share one.
    """

    values: Tensor
    rows: Mapping[bytes, int]

    @classmethod
    def load(cls, folder: Path) -> Activations:
        """Open the activations of a cache entry; values stay on disk until they are read."""
        # Copy-on-write: torch has no tensors that cannot be written to.
        values = np.load(folder / VALUES, mmap_mode="c")
        return cls(torch.from_numpy(values), read_contents(folder))


class ActivationDataset(Dataset[Any]):
    """(activations, class index) of one split's photos, a whole batch at a time."""

    def __init__(
        self, activations: Activations, contents: Sequence[bytes], targets: Sequence[int]
    ) -> None:
        if not activations.rows.keys() >= set(contents):
            raise DataError("a photo has changed while it was being used; start again")
        self.values = activations.values
        self.rows = torch.tensor([activations.rows[content] for content in contents])
        self.targets = torch.tensor(targets)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, draws: Sequence[int | Draw]) -> tuple[Tensor, Tensor]:
        """Return a batch; the draw's seed chooses one of a photo's views."""
        indices = torch.tensor([d.row if isinstance(d, Draw) else d for d in draws])
        views = [d.seed % self.values.shape[1] if isinstance(d, Draw) else 0 for d in draws]
        return self.values[self.rows[indices], torch.tensor(views)].float(), self.targets[indices]
