"""Photos for one pass: read once, as views for the network and as small pictures for people."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pets.data.images import UnreadableImage, open_rgb
from pets.data.transforms import to_tensor
from pets.data.views import Views
from pets.io.pictures import jpeg

THUMBNAIL = 192  # pixels of the longer side: sharp enough to tell breeds, some 8 kB


class Seen(NamedTuple):
    """One photo: its place in the pass, views (V, 3, h, w) or None, thumbnail, its own width and
    height in pixels, what was wrong."""

    place: int
    views: Tensor | None
    thumbnail: bytes
    size: tuple[int, int]
    problem: str


class SeenPhotos(Dataset[Seen]):
    """The photos of one pass by their place; one that cannot be read says why."""

    def __init__(self, paths: Sequence[Path], places: Sequence[int], views: Views) -> None:
        self.paths, self.places, self.views = list(paths), list(places), views

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> Seen:
        try:
            photo = to_tensor(open_rgb(self.paths[item]))
        except UnreadableImage as error:
            return Seen(self.places[item], None, b"", (0, 0), str(error))
        views = self.views(photo)
        size = photo.shape[2], photo.shape[1]
        return Seen(self.places[item], views, jpeg(views[0], THUMBNAIL), size, "")


def as_batch(rows: list[Seen]) -> dict[str, Any]:
    """`views` (B, V, 3, h, w) and `places` (B,) of the readable ones, `thumbnails` and `sizes` in
    their order; `problems` by place. `views` is None where no photo of the batch could be read."""
    good = [row for row in rows if row.views is not None]
    return {
        "views": torch.stack([row.views for row in good if row.views is not None])
        if good
        else None,
        "places": torch.tensor([row.place for row in good]),
        "thumbnails": [row.thumbnail for row in good],
        "sizes": [row.size for row in good],
        "problems": {row.place: row.problem for row in rows if row.views is None},
    }


class Thumbnails:
    """Small pictures by place, on disk until the report has chosen its own."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - gone with the object
        self._where: dict[int, tuple[int, int]] = {}

    def add(self, place: int, content: bytes) -> None:
        self._where[place] = (self._file.seek(0, io.SEEK_END), len(content))
        self._file.write(content)

    def __getitem__(self, place: int) -> bytes:
        start, length = self._where[place]
        self._file.seek(start)
        return self._file.read(length)

    def items(self) -> list[tuple[int, bytes]]:
        """All of them, for another rank."""
        return [(place, self[place]) for place in self._where]
