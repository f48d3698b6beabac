"""Test-time augmentation: named views of a photo, and the mean of their predictions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as VF

from pets.data.augment import resize_to_cover
from pets.data.transforms import CentreCrop, Preprocess

# `tta=4` takes the first four. The first is the crop of evaluation.
NAMES = (
    "centre", "flip", "whole", "whole_flip",
    "top_left", "top_right", "bottom_left", "bottom_right",
)  # fmt: skip
_CORNERS = {"top_left": (0, 0), "top_right": (0, 1), "bottom_left": (1, 0), "bottom_right": (1, 1)}


def log_mean(logits: Tensor, views: int) -> Tensor:
    """From logits (B * views, classes) the log of each photo's mean probabilities (B, classes)."""
    # In float64 the mean of very small probabilities does not become zero.
    logs = logits.double().log_softmax(1).reshape(-1, views, logits.shape[1])
    return logs.logsumexp(1) - math.log(views)


class Views:
    """From a photo, uint8 (3, H, W), to its views, uint8 (len(names), 3, height, width).

    `centre` is the crop of validation, `whole` the photo resized to the size without cropping;
    corners are crops of the photo as resized for `centre`; `_flip` is mirrored.
    """

    def __init__(self, names: tuple[str, ...], size: tuple[int, int], preprocess: Preprocess):
        self.names, self.size, self.mode = names, list(size), preprocess.mode
        self.centre = CentreCrop(size, preprocess)

    def __call__(self, photo: Tensor) -> Tensor:
        return torch.stack([self.view(name, photo) for name in self.names])

    def view(self, name: str, photo: Tensor) -> Tensor:
        """Return one view, uint8 (3, height, width)."""
        height, width = self.size
        if name in _CORNERS:
            down, right = _CORNERS[name]
            resized = resize_to_cover(photo, self.centre.resized, self.mode)
            top, left = down * (resized.shape[-2] - height), right * (resized.shape[-1] - width)
            return VF.crop(resized, top, left, height, width)
        if "whole" in name:
            # Bicubic overshoots uint8 pixels at edges less with antialiasing, as in `centre`.
            view = VF.resize(photo, self.size, self.mode, antialias=True)
        else:
            view = self.centre(photo)
        return VF.horizontal_flip(view) if "flip" in name else view
