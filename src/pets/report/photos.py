"""The photos of a page: each once, with a caption, and only as many as the image budget allows."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from pets.interpretation.analysis import Analysis


class PagePhotos:
    """Photos as sections show them, until `settings.megabytes` are full.

    Rows are those of `analysis.predictions`, indices are those of the pass.

    Attributes:
        pictures: the thumbnails in the page as base64, by index.
        captions: path and text of every photo that a section asked for.
        refused: the indices that found no room.
    """

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._bytes_left = int(analysis.settings.megabytes * 1e6)
        self.pictures: dict[int, str] = {}
        self.captions: dict[int, dict[str, str]] = {}
        self.refused: set[int] = set()

    def take(self, index: int, path: str, text: str) -> bool:
        """Put a photo into the page, if it fits; its first caption stays."""
        self.captions.setdefault(index, {"path": path, "text": text})
        if index in self.pictures:
            return True
        content = b64encode(self.analysis.extracted.thumbnails[index]).decode()
        if len(content) > self._bytes_left:
            self.refused.add(index)
            return False
        self._bytes_left -= len(content)
        self.pictures[index] = content
        return True

    def details(self, rows: list[int]) -> list[dict[str, Any]]:
        """Photos with their predictions, as far as they fit."""
        shown = []
        for row in rows:
            photo, index = self.analysis.predictions[row], self.analysis.indices[row]
            right = photo.label == photo.prediction
            how = "recognised" if right else f"taken for {photo.prediction}"
            text = f"{photo.label}, {how}, {100 * photo.p_prediction:.0f} %"
            if self.take(index, photo.path, text):
                shown.append({"photo": index, **photo._asdict()})
        return shown

    def indices(self, rows: list[int]) -> list[int]:
        """The indices of photos with a caption, as far as they fit."""
        return [photo["photo"] for photo in self.details(rows)]

    def neighbours(self, near: list[tuple[int, float]]) -> list[dict[str, Any]]:
        """Training photos by their index, with their similarity, as far as they fit."""
        shown = []
        for index, similarity in near:
            photo = self.analysis.photos[index]
            if self.take(index, photo.path, f"training photo of {photo.label}"):
                shown.append({"photo": index, "label": photo.label, "similarity": similarity})
        return shown

    def cams(self, row: int) -> list[dict[str, Any]]:
        """Grad-CAM for the predicted and the actual class, as the page's script draws it."""
        photo, maps = self.analysis.predictions[row], self.analysis.extracted.cams
        return [
            {
                "for": name,
                "height": values.shape[0],
                "width": values.shape[1],
                "values": b64encode(values.numpy().tobytes()).decode(),
            }
            for name, values in zip(
                (photo.prediction, photo.label), maps[self.analysis.indices[row]], strict=True
            )
        ]
