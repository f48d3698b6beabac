"""The lesson's augmentation in two parts: loaders crop, the training device computes the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from pets.config import AugmentConfig
from pets.data.augment import LessonCrop, pixel_centres, warp
from pets.data.transforms import CentreCrop, Preprocess, train_pixels

# Maximum ratio of cached to final size: the effect of 1.14 (256 for 224) is invisible, of 1.3 not.
_SHRINKS = 1.2

N = TypeVar("N", float, Tensor)


class Numbers(NamedTuple, Generic[N]):
    """Random numbers of the augmentation of one photo, or of a batch."""

    angle: N  # radians
    zoom: N
    lean_down: N
    lean_right: N
    flip: N  # 1: flipped
    brightness: N  # factors
    contrast: N
    contrast_first: N  # 1: contrast changes before brightness


UNCHANGED = Numbers(0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0)


class DeviceAugment(nn.Module):
    """Augments photos that were resized beforehand to cover `side` (height, width).

    `draw` runs in a loader's process and only copies bytes; the module itself runs on the training
    device. With the same seed a photo gets the same random numbers as from `train_pixels`.

    `side` is a little more than the final size, with the same proportions: this last resize has no
    antialiasing. The module holds no tensors, so it need not be moved to a device.
    """

    def __init__(
        self,
        crop: LessonCrop | CentreCrop,
        photo: Sequence[v2.Transform],
        preprocess: Preprocess,
        side: tuple[int, int],
    ) -> None:
        super().__init__()
        self.crop, self.photo, self.preprocess, self.side = crop, list(photo), preprocess, side
        self.lights = any(not isinstance(step, v2.RandomHorizontalFlip) for step in photo)

    def draw(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Return a random crop (3, *side) of a photo, a view, and its `Numbers` as float32 (8,)."""
        position, drawn = (0.5, 0.5), {}
        if isinstance(self.crop, LessonCrop):
            params = self.crop.make_params([])
            position, (down, right) = params["position"], params["lean"]
            drawn = {"angle": params["angle"], "zoom": params["zoom"],
                     "lean_down": down, "lean_right": right}  # fmt: skip
        for transform in self.photo:
            drawn |= _draw(transform)
        height, width = self.side
        top = round(position[0] * (photo.shape[-2] - height))
        left = round(position[1] * (photo.shape[-1] - width))
        crop = photo[:, top : top + height, left : left + width]
        return crop, torch.tensor(UNCHANGED._replace(**drawn))

    @torch.no_grad()
    def forward(self, crops: Tensor, draws: Tensor) -> Tensor:
        """Augment crops (B, 3, *side) by their `Numbers` (B, 8) to float32 (B, 3, height, width).

        Deterministic, and no photo depends on another.
        """
        # A GPU takes the batch at once; a CPU is 1.6 times as fast if each of its threads has one
        # photo, which stays in its cache.
        step = torch.get_num_threads() if crops.device.type == "cpu" else len(crops)
        parts = zip(torch.split(crops, step), torch.split(draws, step), strict=True)
        return torch.cat([self._augmented(*part) for part in parts])

    def _augmented(self, crops: Tensor, draws: Tensor) -> Tensor:
        numbers: Numbers[Tensor] = Numbers(*draws[:, :, None, None].unbind(1))
        pixels = F.grid_sample(
            crops.float(), self._grid(numbers), padding_mode="reflection", align_corners=False
        ).round_()
        if self.lights:
            _light(pixels, numbers)
        channels = zip(pixels.unbind(1), self.preprocess.mean, self.preprocess.std, strict=True)
        for channel, mean, std in channels:
            channel.mul_(1 / (255 * std)).sub_(mean / std)
        return pixels

    def _grid(self, numbers: Numbers[Tensor]) -> Tensor:
        """Where each output pixel is sampled: (B, height, width, 2)."""
        size = self.crop.size
        # A lesson crop shows all of `side`, a centre crop its middle.
        whole = self.crop.resized if isinstance(self.crop, CentreCrop) else size
        y, x = (
            pixel_centres(count, total, round((total - count) / 2), numbers.angle.device)
            for count, total in zip(size, whole, strict=True)
        )
        # A flipped photo is sampled from right to left.
        x = torch.where(numbers.flip > 0, x.flip(0), x)
        cos, sin = numbers.angle.cos() / numbers.zoom, numbers.angle.sin() / numbers.zoom
        return warp(x, y[:, None], size, cos, sin, (numbers.lean_down, numbers.lean_right))


def _draw(transform: Any) -> dict[str, float]:
    """Draw the numbers of a flip or lighting, by torchvision's code and in its order."""
    if isinstance(transform, v2.RandomHorizontalFlip):
        return {"flip": float(torch.rand(1) < transform.p)}
    if isinstance(transform, v2.RandomApply):
        return {} if torch.rand(1) >= transform.p else _draw(transform.transforms[0])
    params = transform.make_params([])
    order = params["fn_idx"].tolist()  # torchvision's numbers: 0 is brightness, 1 is contrast
    drawn = {"contrast_first": float(order.index(1) < order.index(0))}
    for name in ("brightness", "contrast"):
        if params[f"{name}_factor"] is not None:
            drawn[name] = params[f"{name}_factor"]
    return drawn


def _light(pixels: Tensor, numbers: Numbers[Tensor]) -> None:
    """Change brightness and contrast of (B, 3, h, w), whole levels 0..255, in place.

    Like torchvision for uint8: both results are truncated to whole levels, not rounded.
    """
    for first in (True, False):
        contrasts = (numbers.contrast_first > 0) == first
        red, green, blue = pixels.unbind(1)
        grey = (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()
        # Summed as integers: the same mean for every batch and device.
        mean = grey.sum((1, 2), keepdim=True, dtype=torch.int32) / grey[0].numel()
        scale = torch.where(contrasts, numbers.contrast, numbers.brightness)
        shift = torch.where(contrasts, (1 - numbers.contrast) * mean, 0)
        pixels.mul_(scale[:, None]).add_(shift[:, None]).clamp_(0, 255).floor_()


def device_augment(
    augment: AugmentConfig, size: tuple[int, int], preprocess: Preprocess, side: tuple[int, int]
) -> DeviceAugment | None:
    """Return the augmentation of cached photos that cover `side`, for the training device, or None.

    It supports a lesson crop or centre crop, one flip, and one change of brightness and contrast,
    if `side` is not so large that resizing without antialiasing would show. Otherwise use
    `train_pixels`.
    """
    if max(whole / final for whole, final in zip(side, size, strict=True)) > _SHRINKS:
        return None
    crop, *photo = train_pixels(augment, size, preprocess).transforms
    kinds = [_kind(transform) for transform in photo]
    if type(crop) not in (LessonCrop, CentreCrop) or None in kinds or len(set(kinds)) < len(kinds):
        return None
    return DeviceAugment(crop, photo, preprocess, side)


def _kind(transform: Any) -> str | None:
    """Which of the two supported transforms it is; None for any other."""
    if type(transform) is v2.RandomHorizontalFlip:
        return "flip"
    if type(transform) is v2.RandomApply and len(transform.transforms) == 1:
        transform = transform.transforms[0]
    if type(transform) is not v2.ColorJitter or transform.saturation or transform.hue:
        return None
    return "lighting"
