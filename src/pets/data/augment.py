"""The lesson's geometric augmentation: crop, rotation, zoom and warp in one interpolation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as VF


class LessonCrop(v2.Transform):
    """A random crop, rotated, zoomed and warped: uint8 (C, H, W) to (C, height, width).

    fastai's get_transforms with its presizing: the photo is resized once, antialiased, to a little
    more than the final size; then one bilinear interpolation does rotation (in degrees), zoom (1:
    the whole shorter side) and perspective together, each at most so strong, with probability `p`,
    and with reflection beyond the border.
    """

    def __init__(
        self,
        size: tuple[int, int],
        interpolation: v2.InterpolationMode,
        rotate: float = 10.0,
        zoom: float = 1.1,
        warp: float = 0.2,
        p: float = 0.75,
    ) -> None:
        super().__init__()
        self.size, self.interpolation = size, interpolation
        self.rotate, self.zoom, self.warp, self.p = rotate, zoom, warp, p
        # The final size at full zoom, so that no part of the result is enlarged.
        self.presize = [math.ceil(side * zoom) for side in size]

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        def draw(low: float, high: float, otherwise: float) -> float:
            value, chance = torch.rand(2).tolist()
            return low + (high - low) * float(value) if chance < self.p else otherwise

        return {
            "position": torch.rand(2).tolist(),
            "angle": math.radians(draw(-self.rotate, self.rotate, 0.0)),
            "zoom": draw(1.0, self.zoom, 1.0),
            "lean": (draw(-self.warp, self.warp, 0.0), draw(-self.warp, self.warp, 0.0)),
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        photo = resize_to_cover(inpt, self.presize, self.interpolation)
        height, width = self.presize
        top = round(params["position"][0] * (photo.shape[-2] - height))
        left = round(params["position"][1] * (photo.shape[-1] - width))
        crop = VF.crop(photo, top, left, height, width)
        grid = warp_grid(self.size, params["angle"], params["zoom"], params["lean"])
        warped = F.grid_sample(
            crop[None].float(), grid[None], padding_mode="reflection", align_corners=False
        )[0]
        return warped.round_().clamp_(0, 255).to(torch.uint8)


def resize_to_cover(photo: Tensor, size: list[int], interpolation: v2.InterpolationMode) -> Tensor:
    """Resize (C, h, w), antialiased, to the smallest picture that covers `size` (height, width)."""
    new = covering(photo.shape[-2], photo.shape[-1], size)
    return VF.resize(photo, new, interpolation, antialias=True)


def covering(height: int, width: int, size: list[int]) -> list[int]:
    """Return height and width of the smallest picture of the same shape that covers `size`."""
    scale = max(size[0] / height, size[1] / width)
    return [max(round(height * scale), size[0]), max(round(width * scale), size[1])]


def warp_grid(
    size: tuple[int, int], angle: float, zoom: float, lean: tuple[float, float]
) -> Tensor:
    """Return where each output pixel is sampled: (height, width, 2), x then y, from -1 to 1.

    `angle` is in radians; zoom 1 shows the whole input; `lean` is the perspective (down, right): at
    that edge the picture is `1 + lean` times as far.
    """
    y, x = pixel_centres(size[0])[:, None], pixel_centres(size[1])
    return warp(x, y, size, math.cos(angle) / zoom, math.sin(angle) / zoom, lean)


def pixel_centres(
    count: int, whole: int | None = None, start: int = 0, device: torch.device | None = None
) -> Tensor:
    """Return the positions of `count` pixels, from -1 to 1: a whole row, or a part of `whole`."""
    return (torch.arange(count, device=device) + (start + 0.5)) / (whole or count) * 2 - 1


def warp(
    x: Tensor,
    y: Tensor,
    size: tuple[int, int],
    cos: float | Tensor,
    sin: float | Tensor,
    lean: tuple[float | Tensor, float | Tensor],
) -> Tensor:
    """Rotate, zoom and warp pixel centres to a sampling grid (..., height, width, 2).

    `x` (..., width) and `y` (height, 1) are pixel centres; `cos` and `sin` are divided by the zoom.
    Numbers, or tensors (B, 1, 1) with a value for each picture of a batch.
    """
    height, width = size
    # Rotated in pixels, so that a rectangle does not shear.
    turned_x = cos * x - sin * y * (height / width)
    turned_y = sin * x * (width / height) + cos * y
    away = 1 + lean[0] * turned_y + lean[1] * turned_x
    # All x, then all y: twice as fast to write as pairs.
    planes = torch.stack([turned_x, turned_y], dim=-3).div_(away[..., None, :, :])
    return planes.movedim(-3, -1)
