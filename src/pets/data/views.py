"""Named views of a photo, and the mean of their predictions: test-time augmentation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF

from pets.data.augment import resize_to_cover
from pets.data.transforms import CentreCrop, Preprocess

# In this order: `tta=4` means the first four. The first is what evaluation sees.
NAMES = (
    "centre", "flip", "whole", "whole_flip",
    "top_left", "top_right", "bottom_left", "bottom_right",
)  # fmt: skip
_CORNERS = {"top_left": (0, 0), "top_right": (0, 1), "bottom_left": (1, 0), "bottom_right": (1, 1)}


def log_mean(logits: Tensor, views: int) -> Tensor:
    """Logits (B * views, classes) to the log-probabilities (B, classes), in doubles, of the mean of
    every photo's views."""
    # In doubles: a mean over views of very small probabilities is not zero.
    logs = logits.double().log_softmax(1).reshape(-1, views, logits.shape[1])
    return logs.logsumexp(1) - math.log(views)


class Views:
    """Takes a photo (3, H, W), uint8; gives its views (len(names), 3, height, width), uint8.

    `centre` is the crop of validation, `whole` the photo squeezed into the size, the corners are
    crops of the photo as resized for `centre`; `_flip` is the mirror image.
    """

    def __init__(self, names: tuple[str, ...], size: tuple[int, int], preprocess: Preprocess):
        self.names, self.size, self.mode = names, list(size), preprocess.mode
        self.centre = CentreCrop(size, preprocess)

    def __call__(self, photo: Tensor) -> Tensor:
        return torch.stack([self._view(name, photo) for name in self.names])

    def _view(self, name: str, photo: Tensor) -> Tensor:
        if name in _CORNERS:
            return self._corner(photo, *_CORNERS[name])
        make: Callable[[Tensor], Tensor] = self._whole if "whole" in name else self.centre
        view = make(photo)
        return VF.horizontal_flip(view) if "flip" in name else view

    def _whole(self, photo: Tensor) -> Tensor:
        # Bicubic overshoots uint8 pixels at edges less with antialiasing, as in `centre`.
        return v2.Resize(self.size, self.mode, antialias=True)(photo)

    def _corner(self, photo: Tensor, down: int, right: int) -> Tensor:
        resized = resize_to_cover(photo, self.centre.resized, self.mode)
        height, width = self.size
        top = down * (resized.shape[-2] - height)
        left = right * (resized.shape[-1] - width)
        return VF.crop(resized, top, left, height, width)
