"""The cache of decoded photos: resized once, kept as pixels on disk (`data.cache=decoded`)."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pets.cache.memo import cache_folder
from pets.cache.store import Store, free_bytes, megabytes
from pets.config import DataConfig
from pets.data.augment import resize_to_cover
from pets.data.content_hash import hash_of_set, read_contents, write_contents
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
    """Pixels of photos by content hash, memory-mapped: reading a photo costs one copy."""

    def __init__(self, folder: Path, side: tuple[int, int]) -> None:
        self.side = side
        self.pixels = np.memmap(folder / PIXELS, np.uint8, mode="c")
        self.shapes = np.load(folder / SHAPES)
        self.starts = np.concatenate([[0], np.cumsum(self.shapes.prod(1) * 3)])
        self.rows = read_contents(folder)

    def of(self, contents: Sequence[bytes]) -> DecodedRows:
        """Return the photos of these content hashes, in their order."""
        return DecodedRows(self, [self.rows[content] for content in contents])


class DecodedRows(Sequence[Tensor]):
    """Photos by index: uint8 (3, h, w), channels last in memory as decoders write them."""

    def __init__(self, photos: DecodedPhotos, rows: list[int]) -> None:
        self.photos, self.rows = photos, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        row = self.rows[index]
        start, end = self.photos.starts[row : row + 2]
        pixels = self.photos.pixels[start:end].reshape(*self.photos.shapes[row], 3)
        return torch.from_numpy(np.asarray(pixels)).permute(2, 0, 1)


@dataclass(frozen=True)
class Decoder:
    """Decodes and resizes photos for inputs of `size` (height, width), and caches the pixels."""

    config: DataConfig
    preprocess: Preprocess
    size: tuple[int, int]
    cache_dir: str

    @property
    def needed(self) -> tuple[int, int]:
        """Height and width to which evaluation resizes a photo before it crops."""
        height, width = CentreCrop(self.size, self.preprocess).resized
        return height, width

    @property
    def side(self) -> tuple[int, int]:
        """Height and width that a decoded photo covers.

        `needed`, with which evaluation sees exactly the pixels it would get from the files; or
        scaled so that the shorter one is `data.cache_side`.
        """
        height, width = self.needed
        if self.config.cache_side is None:
            return height, width
        scale = self.config.cache_side / min(height, width)
        return round(height * scale), round(width * scale)

    def check(self, stage: str) -> None:
        """Raises ConfigError if `data.cache_side` is so small that photos would be enlarged."""
        side, needed = self.config.cache_side, min(self.needed)
        if side is not None and side < needed:
            raise ConfigError(
                f"data.cache_side={side} is too small for {stage}: evaluation resizes photos to "
                f"{needed} pixels for pictures of {self.size[0]} x {self.size[1]}; expected at "
                f"least {needed}, or null"
            )

    def decoded(self, photos: Photos) -> DecodedPhotos:
        """Return a run's photos from the cache, decoding them on a miss.

        Raises:
            CacheError: The cache cannot be written.
            UnreadableImage: A photo cannot be decoded.
        """
        by_content = dict(zip(photos.contents(photos.rows), photos.rows, strict=True))
        contents = sorted(by_content)
        files = PhotoFiles([photos.root / by_content[content].path for content in contents])

        def resized(index: int) -> Tensor:
            photo = resize_to_cover(files[index], list(self.side), self.preprocess.mode)
            return photo.permute(1, 2, 0).contiguous()

        def make(folder: Path) -> None:
            shapes = []
            bar = tqdm(total=len(files), desc="decoding", unit="photo", leave=False, disable=None)
            with (folder / PIXELS).open("wb") as stream, ThreadPoolExecutor() as pool, bar:
                for first in range(0, len(files), _CHUNK):
                    for pixels in pool.map(resized, range(len(files))[first : first + _CHUNK]):
                        shapes.append(pixels.shape[:2])
                        stream.write(pixels.numpy().data)
                        bar.update()
            np.save(folder / SHAPES, np.array(shapes, dtype=np.int64))
            write_contents(folder, contents)

        description = f"{len(photos.rows):,} photos decoded, shorter side {min(self.side)} pixels"
        return Store(self.cache_dir).get(
            KIND, self._key(photos), description, self.estimate_bytes(photos), make,
            lambda folder: DecodedPhotos(folder, self.side),
        )  # fmt: skip

    def estimate_bytes(self, photos: Photos) -> int:
        """Estimate the bytes of all decoded photos from the sizes of a sample."""
        sample = photos.rows[:: max(len(photos.rows) // _SAMPLE, 1)]
        width, height = np.array([size_of(photos.root / photo.path) for photo in sample]).T
        scale = np.maximum(self.side[0] / height, self.side[1] / width)
        return int(np.mean(height * width * scale**2) * len(photos.rows) * 3)

    def pays(self, photos: Photos, epochs: int) -> bool:
        """Decide whether `data.cache=auto` caches for `epochs` epochs, and log it.

        The cache is worth it if photos are read more than once, fit into half the memory (or they
        would be read from disk each time) and leave nine tenths of the free disk space. An
        existing entry is always used.
        """
        size = self.estimate_bytes(photos)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = free_bytes(cache_folder(self.cache_dir))
        choice = "decoded"
        if not Store(self.cache_dir).has(KIND, self._key(photos)):
            if epochs < 2:
                choice = "none, photos are read only once"
            elif size > memory / 2:
                choice = f"none, more than half of the memory ({megabytes(memory)})"
            elif size > free / 10:
                choice = f"none, more than a tenth of the free disk space ({megabytes(free)})"
        log.info("data.cache=auto: %s of pixels, epochs: %s; %s", megabytes(size), epochs, choice)
        return choice == "decoded"

    def _key(self, photos: Photos) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "photos": hash_of_set(photos.contents(photos.rows)),
            "side": self.side,
            "interpolation": self.preprocess.interpolation,
        }
