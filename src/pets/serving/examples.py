"""Example photos for the page: some of the run's validation photos."""

from __future__ import annotations

import io
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pets.data.content_hash import content_hashes
from pets.data.images import UnreadableImage, open_rgb
from pets.data.photos import Photo
from pets.data.splits import VALID
from pets.errors import DataError, RunError
from pets.run_dir import RunDir
from pets.training.table import load_table

log = logging.getLogger(__name__)
_SIDE = 160  # pixels of a thumbnail


@dataclass(frozen=True)
class ExamplePhoto:
    """A photo, its label, and a small JPEG of it."""

    file: Path
    label: str
    thumbnail: bytes


def find_examples(run: RunDir, root: str, count: int) -> list[ExamplePhoto]:
    """Return up to `count` validation photos that still exist, spread over the classes."""
    if not count:
        return []
    try:
        photos = load_table(run, run.root(root))
    except (DataError, RunError) as error:
        log.info("no examples on the page: %s", error)
        return []
    # In a fixed random order: one photo of every class before a second one of any class.
    rows, chosen = photos.of(VALID), Counter[str]()
    order: list[tuple[int, Photo]] = []
    for index in np.random.default_rng(0).permutation(len(rows)):
        order.append((chosen[rows[index].label], rows[index]))
        chosen[rows[index].label] += 1
    examples: list[ExamplePhoto] = []
    for _, photo in sorted(order, key=lambda pair: pair[0]):
        if len(examples) < count and (example := _example(photos.root, photo)):
            examples.append(example)
    if not examples:
        log.info("no examples on the page: the run has no validation photos at %s", photos.root)
    return examples


def _example(root: Path, photo: Photo) -> ExamplePhoto | None:
    file, thumbnail = root / photo.path, io.BytesIO()
    try:
        # An untrusted run's table may name any file of this machine, but cannot know its hash.
        if content_hashes([file])[0].hex() != photo.content:
            return None
        image = open_rgb(file)
    except (OSError, UnreadableImage):
        return None
    image.thumbnail((_SIDE, _SIDE))
    image.save(thumbnail, "JPEG", quality=82)
    return ExamplePhoto(file, photo.label, thumbnail.getvalue())
