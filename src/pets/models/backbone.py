"""The pretrained network without its classifier: photos to feature maps, with layer groups."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torchvision.models import DenseNet, GoogLeNet, Inception3

from pets.config import ModelConfig
from pets.errors import ConfigError, some

# The first children of torchvision's networks that are not part of the backbone.
_TORCHVISION_TOPS = {"avgpool", "classifier", "fc", "head", "heads"}


class Backbone(nn.Module):
    """Maps photos (B, 3, h, w) to feature maps (B, `features`, h', w').

    `groups` are the layer groups from input to output: a name and the names of its parameters.
    Every parameter is in exactly one group.
    """

    def __init__(self, network: Any, config: ModelConfig) -> None:
        super().__init__()
        self.is_timm = config.library == "timm"
        self.own_size = network.pretrained_cfg["input_size"][-1] if self.is_timm else 224
        if self.is_timm:
            network.reset_classifier(0, "")
        else:
            network = _cut(network, config)
        if self.is_timm and config.groups is None:
            # timm's own coarse grouping: the stem, then one group per stage.
            found = group_parameters(network, network.group_matcher(coarse=True))
            groups = [(f"group{i}", found[key]) for i, key in enumerate(sorted(found))]
        else:
            groups = _groups_of_children(network, config.groups)
        self.network: Any = network
        self.groups = [(name, [f"network.{p}" for p in names]) for name, names in groups]
        self.features = _probe(self, config)

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether it accepts pictures of (height, width): some transformers have a fixed size."""
        if size == (self.own_size, self.own_size):
            return True
        try:
            self.shape_of_map(size)
        except (RuntimeError, AssertionError):
            return False
        return True

    @torch.no_grad()
    def shape_of_map(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape (C, h', w') of one picture's feature map, by a forward pass."""
        training = self.training
        device = next(self.parameters()).device
        try:
            # `forward`, not a call: a compiled backbone would be compiled for a single picture.
            return tuple(self.eval().forward(torch.zeros(1, 3, *size, device=device)).shape[1:])
        finally:
            self.train(training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_timm:
            return self.network(x)
        return _as_map(self.network.forward_features(x), self.network)


def _cut(network: nn.Module, config: ModelConfig) -> nn.Sequential:
    """Return torchvision's network up to its pooling, with unchanged names."""
    children: OrderedDict[str, nn.Module] = OrderedDict()
    # These have operations outside of their children.
    more = isinstance(network, DenseNet | GoogLeNet | Inception3)
    for name, child in () if more else network.named_children():
        if name in _TORCHVISION_TOPS:
            return nn.Sequential(children)
        children[name] = child
    raise ConfigError(f"model.name={config.name}: no place to cut it; use model=timm")


def _as_map(x: Tensor, network: Any) -> Tensor:
    """Convert tokens (B, n, C) and channels-last maps (B, h, w, C) to (B, C, h, w)."""
    if x.ndim == 3:
        x = x[:, getattr(network, "num_prefix_tokens", 0) :]
        height, width = network.patch_embed.grid_size
        return x.transpose(1, 2).reshape(x.shape[0], -1, height, width)
    return x if x.shape[1] == network.num_features else x.permute(0, 3, 1, 2)


def _probe(backbone: Backbone, config: ModelConfig) -> int:
    """Return the channels of the feature map. Raises ConfigError if the output is not a map."""
    try:
        shape = backbone.shape_of_map((backbone.own_size, backbone.own_size))
    except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ConfigError(
            f"model.name={config.name}: its backbone does not give a feature map ({reason}); "
            "choose another architecture, or the same one from timm"
        ) from error
    if len(shape) != 3:
        raise ConfigError(f"model.name={config.name}: its backbone gives {shape}, not a map")
    return int(shape[0])


def _groups_of_children(
    network: nn.Module, groups: list[list[str]] | None
) -> list[tuple[str, list[str]]]:
    """Build the groups from lists of child names; by default, the two halves of the network.

    A name stands for every parameter below it. Raises ConfigError if one is unknown, listed twice
    or missing.
    """
    names = [name for name, _ in network.named_parameters()]
    if groups is None:
        blocks = list(OrderedDict.fromkeys(".".join(name.split(".")[:2]) for name in names))
        half = len(blocks) // 2
        groups = [blocks[:half], blocks[half:]]
    found = []
    for group in groups:
        below = {c: [n for n in names if f"{n}.".startswith(f"{c}.")] for c in group}
        if unknown := [c for c in group if not below[c]]:
            raise ConfigError(f"model.groups: {some(unknown)} name no parameters of this network")
        inside = [n for n in names if any(n in part for part in below.values())]
        found.append((f"{group[0]}-{group[-1]}" if len(group) > 1 else group[0], inside))
    grouped = [name for _, inside in found for name in inside]
    if len(set(grouped)) < len(grouped):
        raise ConfigError("model.groups: a layer stands in two groups")
    if left := sorted(set(names) - set(grouped)):
        raise ConfigError(f"model.groups: {some(left)} are in no group")
    return found
