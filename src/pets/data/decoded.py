"""Photos decoded and shrunk once, kept as pixels on disk."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pets.cache.files import existing, megabytes, writing
from pets.cache.memo_store import cache_folder
from pets.cache.store import Store
from pets.config import DataConfig
from pets.data.augment import resize_to_cover
from pets.data.content_hash import digest_of_set, read_contents, write_contents
from pets.data.dataset import PhotoFiles
from pets.data.images import size_of
from pets.data.photos import Photos
from pets.data.transforms import CentreCrop, Preprocess
from pets.errors import ConfigError

log = logging.getLogger(__name__)

KIND, FORMAT = "decoded", 1
PIXELS, SHAPES = "pixels.bin", "shapes.npy"
_SAMPLE, _CHUNK = 200, 256


class DecodedPhotos:
    """Pixels of photos by a hash of their content, mapped from disk: reading one costs a copy."""

    def __init__(self, folder: Path, side: tuple[int, int]) -> None:
        self.side = side
        self.pixels = np.memmap(folder / PIXELS, np.uint8, mode="c")
        self.shapes = np.load(folder / SHAPES)
        self.starts = np.concatenate([[0], np.cumsum(self.shapes.prod(1) * 3)])
        self.rows = read_contents(folder)

    def of(self, contents: Sequence[bytes]) -> DecodedRows:
        """Photos by their contents, in this order."""
        return DecodedRows(self, [self.rows[content] for content in contents])


class DecodedRows(Sequence[Tensor]):
    """uint8 (3, h, w) by place, laid out as a decoder leaves them."""

    def __init__(self, photos: DecodedPhotos, rows: list[int]) -> None:
        self.photos, self.rows = photos, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        row = self.rows[place]
        start, end = self.photos.starts[row : row + 2]
        height, width = self.photos.shapes[row]
        pixels = self.photos.pixels[start:end].reshape(height, width, 3)
        return torch.from_numpy(np.asarray(pixels)).permute(2, 0, 1)


@dataclass(frozen=True)
class Decoder:
    """Shrinks photos to what pictures of `size` (height, width) are cut from, and keeps them."""

    config: DataConfig
    preprocess: Preprocess
    size: tuple[int, int]
    cache_dir: str

    @property
    def needed(self) -> tuple[int, int]:
        """The height and width that evaluation shrinks a photo to."""
        height, width = CentreCrop(self.size, self.preprocess).resized
        return height, width

    @property
    def side(self) -> tuple[int, int]:
        """The height and width that a decoded photo covers: `cache_side` for the shorter one, or
        `needed`; then evaluation sees the very pixels that it would see from the files."""
        height, width = self.needed
        if self.config.cache_side is None:
            return height, width
        scale = self.config.cache_side / min(height, width)
        return round(height * scale), round(width * scale)

    def check(self, stage: str) -> None:
        """Raises ConfigError for a `cache_side` from which pictures would have to be enlarged."""
        side, needed = self.config.cache_side, min(self.needed)
        if side is not None and side < needed:
            raise ConfigError(
                f"data.cache_side={side} is too small for {stage}: evaluation shrinks photos to "
                f"{needed} pixels for pictures of {self.size[0]} x {self.size[1]}; expected at "
                f"least {needed}, or null"
            )

    def decoded(self, photos: Photos) -> DecodedPhotos:
        """All photos of a run; found in the cache, or decoded and kept there. Raises CacheError,
        and UnreadableImage."""
        by_content = dict(zip(photos.contents(photos.rows), photos.rows, strict=True))
        contents = sorted(by_content)
        files = PhotoFiles([photos.root / by_content[content].path for content in contents])

        def shrunk(place: int) -> Tensor:
            photo = resize_to_cover(files[place], list(self.side), self.preprocess.mode)
            return photo.permute(1, 2, 0).contiguous()

        def make(folder: Path) -> None:
            shapes = []
            bar = tqdm(total=len(files), desc="decoding", unit="photo", leave=False, disable=None)
            with writing():
                stream = (folder / PIXELS).open("wb")
            with stream, ThreadPoolExecutor() as pool, bar:
                for first in range(0, len(files), _CHUNK):
                    places = range(first, min(first + _CHUNK, len(files)))
                    for pixels in pool.map(shrunk, places):
                        shapes.append(pixels.shape[:2])
                        with writing():
                            stream.write(pixels.numpy().data)
                        bar.update()
                with writing():
                    stream.flush()
            with writing():
                np.save(folder / SHAPES, np.array(shapes, dtype=np.int64))
            write_contents(folder, contents)

        words = f"{len(photos.rows):,} photos decoded, shorter side {min(self.side)} pixels"
        return Store(self.cache_dir).get(
            KIND, self._key(photos), words, self.room(photos), make,
            lambda folder: DecodedPhotos(folder, self.side),
        )  # fmt: skip

    def room(self, photos: Photos) -> int:
        """About how many bytes the photos take, from the proportions of some of them."""
        every = max(len(photos.rows) // _SAMPLE, 1)
        areas = []
        for photo in photos.rows[::every]:
            width, height = size_of(photos.root / photo.path)
            scale = max(self.side[0] / height, self.side[1] / width)
            areas.append(height * width * scale**2)
        return int(np.mean(areas) * len(photos.rows) * 3)

    def pays(self, photos: Photos, epochs: int) -> bool:
        """What `data.cache=auto` means for photos that are read in so many epochs; says so.

        Pixels are kept where they are read more than once, fit into half of the memory (else they
        come from the disk each time), and leave nine tenths of the disk's free room. Where they
        are kept already they are taken.
        """
        room = self.room(photos)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = shutil.disk_usage(existing(cache_folder(self.cache_dir))).free
        against = ""
        if Store(self.cache_dir).has(KIND, self._key(photos)):
            pass
        elif epochs < 2:
            against = "they are read once only"
        elif room > memory / 2:
            against = f"more than half of the memory ({megabytes(memory)})"
        elif room > free / 10:
            against = f"more than a tenth of the free room ({megabytes(free)})"
        choice = f"none, {against}" if against else "decoded"
        log.info("data.cache=auto: %s of pixels, epochs: %s; %s", megabytes(room), epochs, choice)
        return not against

    def _key(self, photos: Photos) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "photos": digest_of_set(photos.contents(photos.rows)),
            "side": self.side,
            "interpolation": self.preprocess.interpolation,
        }
