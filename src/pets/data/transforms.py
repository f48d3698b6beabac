"""Transforms from an RGB photo to the network's input, for training and for evaluation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from pets.config import AugmentConfig
from pets.config.instantiate import build, check_signature
from pets.data.augment import covering, resize_to_cover


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing that pretrained weights expect."""

    mean: tuple[float, float, float]  # of each channel, for inputs from 0 to 1
    std: tuple[float, float, float]
    interpolation: str  # bilinear or bicubic
    crop_pct: float  # share of the resized photo that the centre crop keeps

    @property
    def mode(self) -> v2.InterpolationMode:
        return v2.InterpolationMode(self.interpolation)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint; `Preprocess(**values)` restores them."""
        return asdict(self)


class CentreCrop(v2.Transform):
    """Resize to cover `size / crop_pct`, then crop the centre of `size` (height, width)."""

    def __init__(self, size: tuple[int, int], preprocess: Preprocess) -> None:
        super().__init__()
        self.size, self.mode = size, preprocess.mode
        self.resized = [math.floor(side / preprocess.crop_pct) for side in size]

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        photo = resize_to_cover(inpt, self.resized, self.mode)
        return VF.center_crop(photo, list(self.size))

    def part_of(self, height: int, width: int) -> tuple[float, float]:
        """Return the shares of a photo's height and width that the crop keeps."""
        whole = covering(height, width, self.resized)
        return self.size[0] / whole[0], self.size[1] / whole[1]


def to_tensor(image: Image.Image | np.ndarray) -> Tensor:
    """Convert an RGB image, or its pixels (height, width, 3), to uint8 (3, height, width).

    Channels stay last in memory, which resizes faster.
    """
    pixels = image if isinstance(image, np.ndarray) else np.array(image)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def normalize(preprocess: Preprocess) -> v2.Transform:
    """Return the transform from uint8 pixels to the floats that the weights expect."""
    return v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(preprocess.mean, preprocess.std)]
    )


def eval_transform(size: tuple[int, int], preprocess: Preprocess) -> v2.Transform:
    """Return the deterministic transform of evaluation and prediction."""
    return v2.Compose([CentreCrop(size, preprocess), normalize(preprocess)])


def train_pixels(
    augment: AugmentConfig, size: tuple[int, int], preprocess: Preprocess
) -> v2.Transform:
    """Return the augmentation of single photos, uint8 in and out; uses torch's generator."""
    crop: v2.Transform = CentreCrop(size, preprocess)
    if augment.crop is not None:
        crop = build("augment.crop", augment.crop, size=size, interpolation=preprocess.mode)
    photo = [build(f"augment.photo.{name}", node) for name, node in augment.photo.items()]
    return v2.Compose([crop, *photo])


def batch_transforms(augment: AugmentConfig, n_classes: int) -> list[v2.Transform]:
    """Return MixUp and similar: (photos, class indices) to (photos, label shares)."""
    return [
        build(f"augment.batch.{name}", node, num_classes=n_classes)
        for name, node in augment.batch.items()
    ]


def check_augment(augment: AugmentConfig) -> None:
    """Check that every transform exists and accepts its arguments. Raises ConfigError."""
    if augment.crop is not None:
        check_signature("augment.crop", augment.crop, ("size", "interpolation"))
    for name, node in augment.photo.items():
        check_signature(f"augment.photo.{name}", node)
    for name, node in augment.batch.items():
        check_signature(f"augment.batch.{name}", node, ("num_classes",))
