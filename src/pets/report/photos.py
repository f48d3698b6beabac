"""The photos of a page: each once, with a caption, and only as many as the image budget allows."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np

from pets.interpretation.analysis import Analysis, Neighbour
from pets.interpretation.dataset import Thumbnails


class ImageBudget:
    """Thumbnails as base64, by index, until `megabytes` are full; later ones are `refused`."""

    def __init__(self, thumbnails: Thumbnails, megabytes: float) -> None:
        self._thumbnails, self._bytes_left = thumbnails, int(megabytes * 1e6)
        self.photos: dict[int, str] = {}
        self.refused: set[int] = set()

    def take(self, indices: list[int]) -> list[int]:
        """Put photos into the page; return those that fit, in the same order."""
        return [index for index in indices if self._fits(index)]

    def _fits(self, index: int) -> bool:
        if index in self.photos:
            return True
        content = b64encode(self._thumbnails[index]).decode()
        if len(content) > self._bytes_left:
            self.refused.add(index)
            return False
        self._bytes_left -= len(content)
        self.photos[index] = content
        return True


class PagePhotos:
    """Photos as sections show them, by their index in the pass, within the image budget.

    Rows are those of `analysis.predictions`.
    """

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.budget = ImageBudget(analysis.extracted.thumbnails, analysis.settings.megabytes)
        self.captions: dict[int, dict[str, str]] = {}

    def details(self, rows: list[int]) -> list[dict[str, Any]]:
        """Photos with their predictions, as far as they fit."""
        analysis, shown = self.analysis, set(self.indices(rows))
        return [
            {"photo": analysis.indices[row], **analysis.predictions[row]._asdict()}
            for row in rows
            if analysis.indices[row] in shown
        ]

    def indices(self, rows: list[int]) -> list[int]:
        """Photos with a caption, as far as they fit."""
        indices = [self.analysis.indices[row] for row in rows]
        for row, index in zip(rows, indices, strict=True):
            photo = self.analysis.predictions[row]
            how = "recognised" if photo.right else f"taken for {photo.prediction}"
            percent = f"{100 * photo.p_prediction:.0f} %"
            self.caption(index, photo.path, f"{photo.label}, {how}, {percent}")
        return self.budget.take(indices)

    def neighbours(self, neighbours: list[Neighbour]) -> list[dict[str, Any]]:
        """Training photos with their similarity, as far as they fit."""
        for near in neighbours:
            path = self.analysis.photos[near.index].path
            self.caption(near.index, path, f"training photo of {near.label}")
        shown = set(self.budget.take([near.index for near in neighbours]))
        return [
            {"photo": near.index, "label": near.label, "similarity": near.similarity}
            for near in neighbours
            if near.index in shown
        ]

    def caption(self, index: int, path: str, text: str) -> None:
        """Set the caption of a photo; the first one stays."""
        self.captions.setdefault(index, {"path": path, "text": text})

    def cams(self, row: int) -> list[dict[str, Any]]:
        """Grad-CAM for the predicted and the actual class, as the page's script draws it."""
        maps = self.analysis.extracted.cams[self.analysis.indices[row]]
        names = self.analysis.predictions[row].prediction, self.analysis.predictions[row].label
        return [
            {
                "for": name,
                "height": values.shape[0],
                "width": values.shape[1],
                "values": b64encode(np.ascontiguousarray(values).tobytes()).decode(),
            }
            for name, values in zip(names, maps, strict=True)
        ]
