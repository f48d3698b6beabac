"""Visualise layers: the first kernels, and the patches that activate chosen channels most.

After Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pets.errors import ConfigError
from pets.interpretation.receptive import ReceptiveField, receptive_fields
from pets.models.backbone import Backbone


@dataclass
class Patch:
    """The receptive field (3, h, w) of a channel's strongest unit on one photo.

    The unit's position is down and across, in 0..1.
    """

    activation: float
    index: int
    pixels: Tensor
    unit: tuple[float, float]


@dataclass
class BackboneStage:
    """One stage of the backbone, with the strongest patches of every chosen channel.

    There is at most one patch per photo; the strongest comes first.
    """

    name: str
    field: ReceptiveField
    patches: dict[int, list[Patch]]


class TopPatches:
    """Keep the strongest patches of channels while photos pass through the backbone.

    Memory does not grow with the number of photos.

    Args:
        backbone: The network whose stages are observed.
        size: Height and width of the photos in pixels.
        channels: Number of channels per stage, evenly spaced; or a list of channels.
        patches: Number of patches kept per channel, each from a different photo.

    Raises:
        ConfigError: No stage has a listed channel.
    """

    def __init__(
        self, backbone: Backbone, size: tuple[int, int], channels: int | list[int], patches: int
    ) -> None:
        self.keep = patches
        self.modules, widths = stages_of(backbone, size)
        fields = receptive_fields(backbone, self.modules, size)
        chosen = {name: _chosen(channels, widths[name]) for name in self.modules}
        if isinstance(channels, list) and widths:
            name, width = max(widths.items(), key=lambda item: item[1])
            if beyond := [channel for channel in channels if channel >= width]:
                raise ConfigError(
                    f"channels={channels}: no stage has a channel {beyond[0]}; the widest is "
                    f"{name}, with 0 to {width - 1}"
                )
        self.stages = [
            BackboneStage(n, fields[n], {c: [] for c in chosen[n]}) for n in self.modules
        ]
        self._outputs: dict[str, Tensor] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> TopPatches:
        for name, module in self.modules.items():

            def note(_module: nn.Module, _inputs: Any, output: Tensor, name: str = name) -> None:
                self._outputs[name] = output

            self._hooks.append(module.register_forward_hook(note))
        return self

    def __exit__(self, *_error: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._outputs.clear()

    def update(self, photos: Tensor, indices: list[int], views: int) -> None:
        """Keep the strongest patches of the last forward pass.

        Args:
            photos: (B, 3, h, w), uint8, the first view of each photo.
            indices: Their indices in the pass.
            views: Number of views per photo in the pass.
        """
        for stage in self.stages:
            chosen = list(stage.patches)
            maps = self._outputs.pop(stage.name)[::views, chosen].float()
            for column, channel in enumerate(chosen):
                self._take(stage, channel, maps[:, column], photos, indices)

    def _take(
        self, stage: BackboneStage, channel: int, maps: Tensor, photos: Tensor, indices: list[int]
    ) -> None:
        """Keep the strongest patches of a batch, by the `maps` (B, h, w) of one channel."""
        height, width = maps.shape[1:]
        strengths, units = maps.flatten(1).max(1)
        kept = stage.patches[channel]
        weakest = kept[-1].activation if len(kept) == self.keep else -float("inf")
        # Ties go to the first photo, so that the batch size makes no difference.
        values, rows = strengths.sort(descending=True, stable=True)
        new = []
        for value, row in zip(values[: self.keep].tolist(), rows.tolist(), strict=False):
            if value < weakest:
                break
            y, x = divmod(int(units[row]), width)
            top, bottom, left, right = stage.field.box(y, x)
            pixels = photos[row, :, top:bottom, left:right].to("cpu", copy=True)
            down = ((y + 0.5) / height * photos.shape[2] - top) / (bottom - top)
            across = ((x + 0.5) / width * photos.shape[3] - left) / (right - left)
            new.append(Patch(value, indices[row], pixels, (down, across)))
        best = sorted(kept + new, key=lambda patch: (-patch.activation, patch.index))
        stage.patches[channel] = best[: self.keep]


def first_kernels(backbone: Backbone) -> Tensor | None:
    """Return the kernels (n, 3, h, w) of the first convolution over RGB pixels, or None.

    They are scaled to 0..1 with zero at 0.5.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            weights = module.weight.detach().float().cpu()
            scale = weights.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
            return weights / scale / 2 + 0.5
    return None


@torch.no_grad()
def stages_of(
    backbone: Backbone, size: tuple[int, int]
) -> tuple[dict[str, nn.Module], dict[str, int]]:
    """Return the last module of each stage, by name, and its number of channels.

    timm provides them (`feature_info`). Otherwise a stage is everything with the same resolution,
    and its last module is the last of the outermost modules of that resolution. Modules whose
    output is not a channels-first map, as in transformers, are skipped, and so are maps with a
    single position, as in gates.
    """
    modules = {name: module for name, module in backbone.network.named_modules() if name}
    named = getattr(backbone.network, "feature_info", None) if backbone.is_timm else None
    widths = {info["module"]: info["num_chs"] for info in named or () if info["module"] in modules}
    shapes: dict[str, torch.Size] = {}  # in the order in which the modules end

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and _is_map(output.shape, size):
                shapes.pop(name, None)
                shapes[name] = output.shape

        return hook

    names = modules if named is None else widths
    hooks = [modules[name].register_forward_hook(note(name)) for name in names]
    backbone.eval()(torch.zeros(1, 3, *size, device=next(backbone.parameters()).device))
    for hook in hooks:
        hook.remove()
    if named is None:
        outermost: dict[tuple[int, ...], str] = {}
        for name, shape in shapes.items():
            known = outermost.get(tuple(shape[2:]))
            if known is None or name.count(".") <= known.count("."):
                outermost[tuple(shape[2:])] = name
        ends = [name for name in shapes if name in outermost.values()]
    else:
        ends = [name for name in names if name in shapes and shapes[name][1] == widths[name]]
    return {n: modules[n] for n in ends}, {n: int(shapes[n][1]) for n in ends}


def _is_map(shape: torch.Size, size: tuple[int, int]) -> bool:
    """Whether it is (B, C, h, w) with more than one position: its aspect ratio is the photo's.

    With channels last, dimensions 2 and 3 would be width and channels.
    """
    if len(shape) != 4 or shape[2] * shape[3] == 1:
        return False
    return abs(shape[2] - shape[3] * size[0] / size[1]) <= 2


def _chosen(channels: int | list[int], width: int) -> list[int]:
    if isinstance(channels, list):
        return [channel for channel in channels if channel < width]
    return np.unique(np.linspace(0, width - 1, min(channels, width)).round().astype(int)).tolist()
