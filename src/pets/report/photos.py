"""The photos of a page: each once, with a caption, and only as many as the image budget allows."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from pets.interpretation.analysis import Analysis


class PagePhotos:
    """Thumbnails embedded in the report, up to `settings.megabytes`.

    Rows are those of `analysis.predictions`, indices are those of the pass.

    Attributes:
        pictures: The thumbnails in the page as base64, by index.
        captions: Path and text of every photo that a section requested.
        refused: The indices that did not fit.
    """

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._bytes_left = int(analysis.settings.megabytes * 1e6)
        self.pictures: dict[int, str] = {}
        self.captions: dict[int, dict[str, str]] = {}
        self.refused: set[int] = set()

    def add(self, index: int, path: str, text: str) -> bool:
        """Add a photo to the page. Returns whether it fits. The first caption of a photo wins."""
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

    def add_with_predictions(self, rows: list[int]) -> list[dict[str, Any]]:
        """Add photos, as far as they fit. Returns them with their predictions."""
        shown = []
        for row in rows:
            photo, index = self.analysis.predictions[row], self.analysis.indices[row]
            right = photo.label == photo.prediction
            how = "recognised" if right else f"taken for {photo.prediction}"
            text = f"{photo.label}, {how}, {100 * photo.p_prediction:.0f} %"
            if self.add(index, photo.path, text):
                shown.append({"photo": index, **photo._asdict()})
        return shown

    def add_captioned(self, rows: list[int]) -> list[int]:
        """Add photos with captions, as far as they fit. Returns their indices."""
        return [photo["photo"] for photo in self.add_with_predictions(rows)]

    def add_neighbours(self, near: list[tuple[int, float]]) -> list[dict[str, Any]]:
        """Add training photos, as far as they fit. Returns index, label and similarity of each."""
        shown = []
        for index, similarity in near:
            photo = self.analysis.photos[index]
            if self.add(index, photo.path, f"training photo of {photo.label}"):
                shown.append({"photo": index, "label": photo.label, "similarity": similarity})
        return shown

    def cams(self, row: int) -> list[dict[str, Any]]:
        """Return the Grad-CAMs of the predicted and the actual class, for the page's script; none
        if the network has no map to credit."""
        photo, maps = self.analysis.predictions[row], self.analysis.extracted.cams
        return [
            {
                "for": name,
                "height": values.shape[0],
                "width": values.shape[1],
                "values": b64encode(values.numpy().tobytes()).decode(),
            }
            for name, values in zip(
                (photo.prediction, photo.label),
                maps.get(self.analysis.indices[row], ()),
                strict=False,
            )
        ]
