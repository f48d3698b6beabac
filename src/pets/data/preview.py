"""Previews of photos before training: counts, sizes, pixels, augmented views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pets.config import AugmentConfig, DataConfig, LearnerConfig, LookConfig
from pets.data.images import open_rgb, size_of
from pets.data.photos import SPLITS, Photo, Photos
from pets.data.splits import TEST, TRAIN, VALID
from pets.data.transforms import CentreCrop, Preprocess, to_tensor, train_pixels
from pets.io.figures import one_line, plain
from pets.io.pictures import TITLE, grid
from pets.seeding import derive, torch_stream

_NAMED = 120  # maximum number of classes with names in a chart
_LONG = 40  # maximum characters of a class name
_COLOURS = {TRAIN: "#4477aa", VALID: "#ddaa33", TEST: "#bb5566"}
# No weights are chosen yet: typical values.
_USUAL = Preprocess((0.5,) * 3, (0.5,) * 3, "bilinear", 0.875)


def photo_sizes(photos: Photos) -> list[tuple[int, int]]:
    """Return width and height in pixels of every photo; reads only the files' headers."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda photo: size_of(photos.root / photo.path), photos.rows))


def describe(photos: Photos, sizes: list[tuple[int, int]]) -> Iterator[str]:
    """Yield lines of text: counts per class and split, sizes, the first pixels of one photo."""
    counts = {split: Counter(photo.label for photo in photos.of(split)) for split in SPLITS}
    rows = [["class", *SPLITS]]
    for label in photos.classes:
        rows.append([one_line(label, _LONG), *(f"{counts[s][label]:,}" for s in SPLITS)])
    rows.append(["all", *(f"{counts[s].total():,}" for s in SPLITS)])
    longest = max(len(row[0]) for row in rows)
    yield f"{photos.root}: {len(photos.rows):,} photos of {len(photos.classes)} classes"
    yield ""
    for name, *numbers in rows:
        yield f"{name:<{longest}}" + "".join(f"  {number:>6}" for number in numbers)
    yield ""
    for name, side in zip(("width", "height"), np.array(sizes).T, strict=True):
        yield f"{name:<6}  {side.min()} to {side.max()} pixels, median {int(np.median(side))}"
    yield ""
    photo = photos.of(TRAIN)[0]
    pixels = np.asarray(open_rgb(photos.root / photo.path))
    yield f"{photo.path}: an array of shape {pixels.shape} (height, width, red-green-blue)"
    yield "its top left 4 x 4 pixels:"
    for row in pixels[:4, :4]:
        yield "  " + "  ".join("{:3d} {:3d} {:3d}".format(*pixel) for pixel in row)


def choose(photos: Photos, count: int, seed: int) -> list[Photo]:
    """Choose training photos at random, one per class before a second of any class."""
    rows = photos.of(TRAIN)
    order = np.random.default_rng(derive(seed, "look")).permutation(len(rows))
    seen: Counter[str] = Counter()
    ranked = []
    for photo in (rows[int(index)] for index in order):
        ranked.append((seen[photo.label], photo))
        seen[photo.label] += 1
    ranked.sort(key=lambda item: item[0])
    return [photo for _, photo in ranked[:count]]


def draw_photos(photos: Photos, chosen: list[Photo], config: DataConfig) -> Figure:
    """Draw photos as the network sees them in validation, with their labels."""
    crop = CentreCrop(config.size_without_weights, _USUAL)
    titles = [plain(photo.label, TITLE) for photo in chosen]
    return grid([crop(_read(photos, p)) for p in chosen], titles, columns=min(4, len(chosen)))


def is_augmented(augment: AugmentConfig) -> bool:
    """Whether single training photos are augmented."""
    return augment.crop is not None or bool(augment.photo)


def draw_augmented(
    photos: Photos, chosen: list[Photo], config: LookConfig | LearnerConfig, views: int = 5
) -> Figure:
    """Draw one row per photo: the photo, then augmented views of it.

    Without views, or without augmentation in the config, only the photos.
    """
    size = config.data.size_without_weights
    chain, crop = train_pixels(config.augment, size, _USUAL), CentreCrop(size, _USUAL)
    views = views if is_augmented(config.augment) else 0
    pixels, titles = [], []
    for photo in chosen[:4]:
        original = _read(photos, photo)
        pixels.append(crop(original))
        titles.append(plain(photo.label, TITLE))
        for view in range(views):
            with torch_stream(derive(config.seed, "look", photo.path, view)):
                pixels.append(chain(original))
            titles.append(f"view {view + 1}")
    return grid(pixels, titles, columns=views + 1 if views else len(pixels))


def draw_classes(photos: Photos) -> Figure:
    """Chart the photos per class and split; names only if there are few enough to read."""
    classes = len(photos.classes)
    figure, axes = _axes(8, max(2.5, 0.24 * min(classes, _NAMED) + 1))
    left = np.zeros(classes)
    for split in SPLITS:
        counts = Counter(photo.label for photo in photos.of(split))
        widths = np.array([counts[label] for label in photos.classes])
        if widths.any():
            axes.barh(np.arange(classes), widths, left=left, color=_COLOURS[split], label=split)
        left += widths
    if classes > _NAMED:
        axes.set_yticks([])
        axes.set_ylabel(f"{classes:,} classes by name")
    else:
        axes.set_yticks(range(classes), [plain(label, _LONG) for label in photos.classes])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("photos")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    return figure


def draw_sizes(sizes: list[tuple[int, int]]) -> Figure:
    """Plot width against height of every photo."""
    figure, axes = _axes(5, 5)
    widths, heights = np.array(sizes).T
    axes.scatter(widths, heights, s=14, alpha=0.35, color=_COLOURS[TRAIN], linewidths=0)
    axes.set(xlabel="width in pixels", ylabel="height in pixels", xlim=(0, None), ylim=(0, None))
    axes.set_aspect("equal")
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _read(photos: Photos, photo: Photo) -> Tensor:
    return to_tensor(open_rgb(photos.root / photo.path))
