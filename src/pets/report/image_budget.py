"""The photos of a page: each once, however often it is shown, and only as many as fit."""

from __future__ import annotations

from base64 import b64encode

from pets.interpretation.dataset import Thumbnails


class Album:
    """Thumbnails as base64 by place, until `megabytes` are full; what came later is `refused`."""

    def __init__(self, thumbnails: Thumbnails, megabytes: float) -> None:
        self._thumbnails, self._room = thumbnails, int(megabytes * 1e6)
        self.photos: dict[int, str] = {}
        self.refused: set[int] = set()

    def fit(self, places: list[int]) -> list[int]:
        """Those of `places` that have room, in their order; they are in the page from now on."""
        return [place for place in places if self._take(place)]

    def _take(self, place: int) -> bool:
        if place in self.photos:
            return True
        content = b64encode(self._thumbnails[place]).decode()
        if len(content) > self._room:
            self.refused.add(place)
            return False
        self._room -= len(content)
        self.photos[place] = content
        return True
