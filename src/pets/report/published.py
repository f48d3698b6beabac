"""Published results for comparison, each with its split; never compared across splits."""

from __future__ import annotations

from typing import NamedTuple

from pets.config import DataConfig

OFFICIAL = "official test, 3,669 photos"
LESSON = "random 20 % of 7,390 photos"
CATS_AND_DOGS = "the lesson's validation, 2,000 photos"


class Published(NamedTuple):
    """A published result: name, accuracy in 0..1, and the photos it was measured on."""

    name: str
    accuracy: float
    split: str


PUBLISHED = {
    "oxford_pets": (
        Published("Parkhi et al. 2012, the data set's paper", 0.592, OFFICIAL),
        Published("fastai lesson 1: ResNet-34, 4 frozen epochs", 1 - 0.071, LESSON),
        Published("fastai lesson 1: ResNet-34, then 2 unfrozen", 1 - 0.0622, LESSON),
        Published("fastai lesson 1: ResNet-50, 299 px", 1 - 0.044, LESSON),
        Published("big_vision: ViT-B/32, 384 px, 500 steps", 0.9378, OFFICIAL),
    ),
    "dogs_vs_cats": (
        Published("fastai 2018: ResNet-34, precomputed, 2 epochs", 0.992, CATS_AND_DOGS),
        Published("fastai 2018: ResNet-34, unfrozen, TTA", 0.9945, CATS_AND_DOGS),
    ),
}


def split_in_words(data: DataConfig, split: str, photos: int) -> str:
    """Describe the photos of a result in the format of `Published.split`."""
    share = {"valid": data.valid_pct, "test": data.test_pct}.get(split)
    if data.split == "random" and share is not None:
        return f"random {100 * share:g} % of {round(photos / share, -1):,.0f} photos"
    kinds = {"official": "official ", "folders": "its folders' "}
    return f"{kinds.get(data.split, '') if split != 'train' else ''}{split}, {photos:,} photos"


def same_split(published: Published, data: DataConfig, split: str, photos: int) -> bool:
    """Whether the published result was measured on the same kind of split."""
    if published.split == OFFICIAL:
        return data.split == "official" and split == "test" and photos == 3669
    if published.split == LESSON:
        random = data.split == "random" and split == "valid" and data.valid_pct == 0.2
        return random and 1460 <= photos <= 1480
    return data.split == "folders" and split == "valid" and photos == 2000
