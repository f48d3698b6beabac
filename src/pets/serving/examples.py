"""Photos to try the page with: some of the run's validation photos."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pets.data.content_hash import content_hashes
from pets.data.images import FORMATS, UnreadableImage, open_rgb
from pets.data.photos import Photo, Photos
from pets.data.splits import VALID
from pets.errors import DataError, RunError
from pets.run_dir import RunDir
from pets.training.evaluation import find_photos

log = logging.getLogger(__name__)
_SIDE = 160  # pixels of a thumbnail


@dataclass(frozen=True)
class ExamplePhoto:
    """A photo, its label, and a small JPEG of it."""

    file: Path
    label: str
    thumbnail: bytes

    def content(self) -> tuple[bytes, str]:
        """The file's bytes and their type, by what they are. Raises OSError when it is gone."""
        content = self.file.read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return content, Image.MIME[image.format or "JPEG"]


def find_examples(run: RunDir, root: str, count: int) -> list[ExamplePhoto]:
    """Up to `count` validation photos, of different classes first; said when there are none."""
    if not count:
        return []
    try:
        photos = Photos.load(run.path / "photos.csv", run.root(root))
        known = any(photo.content for photo in photos.rows)
        if not known:  # an older run's are known as a whole
            photos = find_photos(run, root).photos
    except (DataError, RunError) as error:
        log.info("no examples on the page: %s", error)
        return []
    found: list[ExamplePhoto] = []
    for photo in _in_turn(photos):
        if len(found) == count:
            break
        file = photos.root / photo.path
        try:
            # A stranger's table may name any file of this machine, but not know what is in it.
            if known and content_hashes([file])[0].hex() != photo.content:
                continue
            image = open_rgb(file)
        except (OSError, UnreadableImage):
            continue
        found.append(ExamplePhoto(file, photo.label, _thumbnail(image)))
    if not found:
        log.info("no examples on the page: the run has no validation photos at %s", photos.root)
    return found


def _in_turn(photos: Photos) -> list[Photo]:
    """The validation photos in a fixed random order, one of every class before a second of any."""
    rows = photos.of(VALID)
    seen: dict[str, int] = {}
    turns = []
    for place in np.random.default_rng(0).permutation(len(rows)):
        photo = rows[int(place)]
        turns.append((seen.setdefault(photo.label, 0), photo))
        seen[photo.label] += 1
    return [photo for _, photo in sorted(turns, key=lambda turn: turn[0])]


def _thumbnail(image: Image.Image) -> bytes:
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return file.getvalue()
