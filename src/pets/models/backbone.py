"""The pretrained network without its classifier: photos to features, with layer groups."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra.utils import get_object
from timm.models import group_parameters
from torch import Tensor, nn
from torchvision.models import DenseNet, GoogLeNet, Inception3

from pets.config import ModelConfig
from pets.errors import ConfigError, some
from pets.models.lora import add_adapters, merged, name_before
from pets.models.weights import input_size

# The first children of torchvision's networks that are not part of the backbone.
_TORCHVISION_TOPS = {"avgpool", "classifier", "fc", "head", "heads"}


class Backbone(nn.Module):
    """Maps photos (B, 3, h, w) to the network's features; `pool` makes them the head's input.

    Features are maps (B, C, h', w'), or what timm's network has instead: tokens (B, n, C) or maps
    with channels last.

    Attributes:
        groups: The layer groups from input to output: a name and the names of its parameters. Every
            parameter is in exactly one group.
        pooling: `own` and `token` are done by the network, `avg` and `concat` here; with `map` the
            head pools by itself.
        features: Number of pooled features, or channels of the map.
        own_size: Height and width of the photos that the weights were trained with.
    """

    def __init__(self, network: Any, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.is_timm = config, config.library == "timm"
        self.own_size = input_size(network, config)
        if self.is_timm:
            network.reset_classifier(0)
        else:
            network = _cut(network, config)
        self.network: Any = network
        with _explain(config):
            example = self._features_of(self.own_size)
        self.pooling = self._resolved_pooling(config, tokens=example.ndim == 3)
        if self.is_timm and self.pooling != "own":
            network.reset_classifier(0, "token" if self.pooling == "token" else "")
        if self.is_timm and config.groups is None:
            # timm's own coarse grouping: the stem, then one group per stage.
            found = group_parameters(network, network.group_matcher(coarse=True))
            groups = [(f"group{i}", found[key]) for i, key in enumerate(sorted(found))]
        else:
            groups = _groups_of_children(network, config.groups)
        self.groups = [(name, [f"network.{p}" for p in names]) for name, names in groups]
        if config.lora is not None:
            self.add_adapters()
        with _explain(config):
            self.features = int(self._evaluated(self.pool, example, self.own_size).shape[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_features(x) if self.is_timm else self.network(x)

    def pool(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Turn the features of photos of `size` (height, width) into the head's input.

        It is (B, C), with twice as many channels for `concat`, or (B, C, h', w') for `map`.
        """
        if self.pooling == "avg":
            return self.as_map(features, size).mean((2, 3))
        return self.activations(features, size)

    def activations(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what is kept of features to train heads on.

        It is the output of `pool`, for averages with the maxima, too, so that most heads share it;
        `from_activations` undoes that.
        """
        if self.pooling in ("own", "token"):
            return self.network.forward_head(features, pre_logits=True)
        x = self.as_map(features, size)
        return x if self.pooling == "map" else torch.cat([x.amax((2, 3)), x.mean((2, 3))], dim=1)

    def from_activations(self, activations: Tensor) -> Tensor:
        """Return the head's input."""
        return activations[:, self.features :] if self.pooling == "avg" else activations

    def as_map(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Arrange features as maps (B, C, h', w'), without class and register tokens."""
        if features.ndim == 3:
            return (
                self._patches(features)
                .transpose(1, 2)
                .reshape(len(features), -1, *self._grid(size))
            )
        return features.permute(0, 3, 1, 2) if self._channels_last(features) else features

    def as_features(self, maps: Tensor, features: Tensor) -> Tensor:
        """Undo `as_map`: return the `features` with other `maps`."""
        if features.ndim == 3:
            prefix = features[:, : features.shape[1] - maps[0, 0].numel()]
            return torch.cat([prefix, maps.flatten(2).transpose(1, 2)], dim=1)
        return maps.permute(0, 2, 3, 1) if self._channels_last(features) else maps

    def why_no_map(self) -> str | None:
        """Why no position of a photo can be credited with a class, or None if it can."""
        pooled = getattr(self.network, "global_pool", None) if self.is_timm else None
        if self.pooling in ("own", "token") and pooled == "token":
            return "its head sees only the class token, not the patches of the photo"
        try:
            self.as_map(self._features_of(self.own_size), self.own_size)
        except (RuntimeError, AttributeError, ValueError):
            return "its features have no positions in the photo"
        return None

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width in pixels of a transformer's patches, 1 for other networks."""
        patches = getattr(self.network, "patch_embed", None)
        height, width = getattr(patches, "patch_size", (1, 1))
        return height, width

    def add_adapters(self) -> None:
        """Add the adapters of `lora`, each in the layer group of the weight beside it."""
        assert self.config.lora is not None
        add_adapters(self.network, self.config.lora)
        names = [name for name, _ in self.named_parameters()]
        self.groups = [
            (group, [name for name in names if name_before(name) in set(before)])
            for group, before in self.groups
        ]

    def without_adapters(self) -> Backbone:
        """Return a copy in which the adapters are merged into the weights beside them."""
        if self.config.lora is None:
            return self
        plain = copy.deepcopy(self)
        plain.network = merged(self.network)
        plain.config = self.config.model_copy(update={"lora": None})
        plain.groups = [
            (group, list(dict.fromkeys(map(name_before, names)))) for group, names in self.groups
        ]
        return plain

    def checkpoint_gradients(self) -> None:
        """Save memory in training by recomputing activations. Raises ConfigError."""
        try:
            self.network.set_grad_checkpointing(True)
        except (AssertionError, AttributeError) as error:
            raise ConfigError(
                f"model.grad_checkpointing=true: {self.config.name} has no such mode in timm; "
                "expected false"
            ) from error

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether it accepts pictures of (height, width): some transformers have a fixed size."""
        if size == self.own_size:
            return True
        try:
            self.shape_of(size)
        except (RuntimeError, AssertionError):
            return False
        return True

    def shape_of(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of the activations of one picture of (height, width)."""
        return tuple(self._evaluated(self.activations, self._features_of(size), size).shape[1:])

    def _features_of(self, size: tuple[int, int]) -> Tensor:
        device = next(self.parameters()).device
        # `forward`, not a call: a compiled backbone would be compiled for a single picture.
        return self._evaluated(self.forward, torch.zeros(1, 3, *size, device=device))

    @torch.no_grad()
    def _evaluated(self, function: Any, *args: Any) -> Tensor:
        training = self.training
        try:
            self.eval()
            return function(*args)
        finally:
            self.train(training)

    def _resolved_pooling(self, config: ModelConfig, tokens: bool) -> str:
        """Resolve `auto`, and null of older runs, which is the head's in any network."""
        if config.pool == "token" and getattr(self.network, "cls_token", None) is None:
            raise ConfigError(
                f"model.pool=token: {config.name} has no class token; expected own, avg or concat"
            )
        if config.pool == "auto" and tokens and self.is_timm:
            return "own"
        if config.pool in (None, "auto"):
            return getattr(get_object(config.head.target), "pool", "map")
        return str(config.pool)

    def _patches(self, tokens: Tensor) -> Tensor:
        return tokens[:, getattr(self.network, "num_prefix_tokens", 0) :]

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        patches = self.network.patch_embed
        if hasattr(patches, "dynamic_feat_size"):
            height, width = patches.dynamic_feat_size(size)
            return height, width
        return patches.grid_size

    def _channels_last(self, features: Tensor) -> bool:
        return self.is_timm and features.shape[1] != self.network.num_features


@contextmanager
def _explain(config: ModelConfig) -> Iterator[None]:
    """Turn the errors of a network that does not have the expected features into a ConfigError."""
    try:
        yield
    except (
        RuntimeError, AttributeError, TypeError, AssertionError, IndexError, ValueError
    ) as error:  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ConfigError(
            f"model.name={config.name}: its backbone does not give features that can be pooled "
            f"({reason}); choose another model.pool or architecture, or the same one from timm"
        ) from error


def _cut(network: nn.Module, config: ModelConfig) -> nn.Sequential:
    """Return torchvision's network up to its pooling, with unchanged names."""
    children: OrderedDict[str, nn.Module] = OrderedDict()
    # These have operations outside of their children.
    more = isinstance(network, DenseNet | GoogLeNet | Inception3)
    for name, child in () if more else network.named_children():
        if name in _TORCHVISION_TOPS:
            return nn.Sequential(children)
        children[name] = child
    raise ConfigError(f"model.name={config.name}: its classifier cannot be cut off; use model=timm")


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
        raise ConfigError("model.groups: a layer is in two groups")
    if left := sorted(set(names) - set(grouped)):
        raise ConfigError(f"model.groups: {some(left)} are in no group")
    return found
