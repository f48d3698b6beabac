"""Photos for one pass: read once, as views for the network and as small pictures for people."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pets.data.images import UnreadableImage, open_rgb
from pets.data.transforms import to_tensor
from pets.data.views import Views
from pets.io.pictures import jpeg

THUMBNAIL = 192  # pixels of the longer side: sharp enough to tell breeds, some 8 kB


@dataclass(frozen=True)
class PhotoViews:
    """One photo of the pass.

    Attributes:
        index: its index in the pass.
        views: (V, 3, h, w), uint8; None if the photo cannot be read.
        thumbnail: a small JPEG.
        size: width and height of the photo itself in pixels.
        problem: why it cannot be read.
    """

    index: int
    views: Tensor | None
    thumbnail: bytes
    size: tuple[int, int]
    problem: str


class ViewsDataset(Dataset[PhotoViews]):
    """The photos of one pass; one that cannot be read has a `problem` instead of views."""

    def __init__(self, paths: Sequence[Path], indices: Sequence[int], views: Views) -> None:
        self.paths, self.indices, self.views = list(paths), list(indices), views

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> PhotoViews:
        try:
            photo = to_tensor(open_rgb(self.paths[item]))
        except UnreadableImage as error:
            return PhotoViews(self.indices[item], None, b"", (0, 0), str(error))
        views = self.views(photo)
        size = photo.shape[2], photo.shape[1]
        return PhotoViews(self.indices[item], views, jpeg(views[0], THUMBNAIL), size, "")


def collate(rows: list[PhotoViews]) -> dict[str, Any]:
    """`views` (B, V, 3, h, w) and `indices` (B,) of the readable ones, `thumbnails` and `sizes` in
    their order; `problems` by index. `views` is None where no photo of the batch could be read."""
    good = [row for row in rows if row.views is not None]
    return {
        "views": torch.stack([row.views for row in good if row.views is not None])
        if good
        else None,
        "indices": torch.tensor([row.index for row in good]),
        "thumbnails": [row.thumbnail for row in good],
        "sizes": [row.size for row in good],
        "problems": {row.index: row.problem for row in rows if row.views is None},
    }


class Thumbnails:
    """Small pictures by index, kept on disk until the report selects from them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - gone with the object
        self._where: dict[int, tuple[int, int]] = {}

    def add(self, index: int, content: bytes) -> None:
        self._where[index] = (self._file.seek(0, io.SEEK_END), len(content))
        self._file.write(content)

    def __getitem__(self, index: int) -> bytes:
        start, length = self._where[index]
        self._file.seek(start)
        return self._file.read(length)

    def items(self) -> list[tuple[int, bytes]]:
        """All of them, for another rank."""
        return [(index, self[index]) for index in self._where]
