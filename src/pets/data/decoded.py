"""Photos decoded and shrunk once, kept as pixels on disk."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pets.cache.store import Store, existing, megabytes
from pets.config import DataConfig
from pets.data.augment import resize_to_cover
from pets.data.contents import digest_of_set, read_contents, write_contents
from pets.data.dataset import PhotoFiles
from pets.data.images import size_of
from pets.data.photos import Photos
from pets.data.transforms import CentreCrop, Preprocess

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


def decoded(
    config: DataConfig,
    cache_dir: str,
    photos: Photos,
    size: tuple[int, int],
    preprocess: Preprocess,
) -> DecodedPhotos:
    """All photos of a run, shrunk to what a picture of `size` (height, width) is cut from; found in
    the cache, or decoded and kept there. Raises CacheError, and UnreadableImage.

    Without `cache_side` evaluation sees the very pixels that it would see from the files.
    """
    side = side_of(config, size, preprocess)
    by_content = dict(zip(photos.contents(photos.rows), photos.rows, strict=True))
    contents = sorted(by_content)
    files = PhotoFiles([photos.root / by_content[content].path for content in contents])

    def shrunk(place: int) -> Tensor:
        return resize_to_cover(files[place], list(side), preprocess.mode).permute(1, 2, 0)

    def make(folder: Path) -> None:
        shapes = []
        bar = tqdm(total=len(files), desc="decoding", unit="photo", leave=False, disable=None)
        with (folder / PIXELS).open("wb") as stream, ThreadPoolExecutor() as pool, bar:
            for first in range(0, len(files), _CHUNK):
                places = range(first, min(first + _CHUNK, len(files)))
                for pixels in pool.map(shrunk, places):
                    shapes.append(pixels.shape[:2])
                    stream.write(np.ascontiguousarray(pixels.numpy()).data)
                    bar.update()
        np.save(folder / SHAPES, np.array(shapes, dtype=np.int64))
        write_contents(folder, contents)

    key = {
        "format": FORMAT,
        "photos": digest_of_set(contents),
        "side": side,
        "interpolation": preprocess.interpolation,
    }
    words = f"{len(photos.rows):,} photos decoded, shorter side {min(side)} pixels"
    entry = Store(cache_dir).get(KIND, key, words, bytes_decoded(photos, side), make)
    return DecodedPhotos(entry.folder, side)


def side_of(config: DataConfig, size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """The height and width that a decoded photo covers: `cache_side` for the shorter one, or what
    evaluation shrinks a photo to."""
    height, width = CentreCrop(size, preprocess).resized
    if config.cache_side is None:
        return height, width
    scale = config.cache_side / min(height, width)
    return round(height * scale), round(width * scale)


def bytes_decoded(photos: Photos, side: tuple[int, int]) -> int:
    """About how much room the photos take, from the proportions of some of them."""
    every = max(len(photos.rows) // _SAMPLE, 1)
    areas = []
    for photo in photos.rows[::every]:
        width, height = size_of(photos.root / photo.path)
        scale = max(side[0] / height, side[1] / width)
        areas.append(height * width * scale**2)
    return int(np.mean(areas) * len(photos.rows) * 3)


def worth_decoding(
    config: DataConfig,
    cache_dir: str,
    photos: Photos,
    size: tuple[int, int],
    preprocess: Preprocess,
    epochs: int,
) -> bool:
    """What `data.cache=auto` means for photos that are read in so many epochs; says so.

    Pixels are kept where they are read more than once, fit into half of the memory (else they come
    from the disk each time), and leave nine tenths of the disk's free room.
    """
    size_kept = bytes_decoded(photos, side_of(config, size, preprocess))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = shutil.disk_usage(existing(Path(cache_dir).expanduser())).free
    against = ""
    if epochs < 2:
        against = "they are read once only"
    elif size_kept > memory / 2:
        against = f"more than half of the memory ({megabytes(memory)})"
    elif size_kept > free / 10:
        against = f"more than a tenth of the free room ({megabytes(free)})"
    choice = f"none, {against}" if against else "decoded"
    log.info(
        "data.cache=auto: %s of pixels for %s epochs: %s", megabytes(size_kept), epochs, choice
    )
    return not against
