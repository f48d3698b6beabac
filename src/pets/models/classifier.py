"""The whole network: backbone and head, its layer groups, and its description in a checkpoint."""

from __future__ import annotations

import copy
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from pets.config import ModelConfig
from pets.config.instantiate import build
from pets.data.transforms import Preprocess
from pets.errors import ConfigError
from pets.models.backbone import Backbone
from pets.models.weights import empty_network, load_pretrained
from pets.seeding import derive, torch_stream

HEAD = "head"


class Classifier(nn.Module):
    """Maps photos (B, 3, h, w), normalised by `preprocess`, to logits (B, len(classes))."""

    def __init__(
        self,
        backbone: Backbone,
        config: ModelConfig,
        classes: list[str],
        preprocess: Preprocess,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.config, self.classes, self.preprocess, self.size = config, classes, preprocess, size
        self.backbone = backbone
        self.head: nn.Module = build(
            "model.head", config.head, features=backbone.features, classes=len(classes)
        )
        if config.channels_last:
            self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pooled(x))

    def pooled(self, x: Tensor) -> Tensor:
        """Return the head's input for photos (B, 3, h, w): (B, C), or maps for heads that pool."""
        return self.backbone.pool(self.features(x), size_of(x))

    def features(self, x: Tensor) -> Tensor:
        """Return the backbone's features, before pooling, of photos (B, 3, h, w)."""
        if self.config.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        # Autograd records no graph for frozen layers, so no explicit no_grad is needed.
        return self.backbone(x)

    def from_activations(self, activations: Tensor) -> Tensor:
        """Map activations (of the backbone's method) to logits (B, len(classes))."""
        device = activations.device.type
        if torch.is_autocast_enabled(device):
            # Under autocast the backbone would have produced this dtype.
            activations = activations.to(torch.get_autocast_dtype(device))
        return self.head(self.backbone.from_activations(activations))

    @property
    def layer_groups(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Name and parameters of every layer group, from input to output; the head is the last."""
        own = dict(self.backbone.named_parameters())
        backbone = [(name, [own[p] for p in names]) for name, names in self.backbone.groups]
        return [*backbone, (HEAD, list(self.head.parameters()))]

    def trained_groups(self, freeze_to: int) -> list[str]:
        """Return the names of the layer groups that `freeze_to` leaves trainable.

        Raises ConfigError.
        """
        names = [name for name, _ in self.layer_groups]
        return names[frozen_groups(names, freeze_to) :]

    def without_adapters(self) -> Classifier:
        """Return the same network with plain weights, for programs that do not know adapters."""
        if self.config.lora is None:
            return self
        plain = copy.deepcopy(self)
        plain.backbone = self.backbone.without_adapters()
        plain.config = plain.backbone.config
        return plain

    def describe(self) -> dict[str, Any]:
        """Return plain values from which `classifier_from` rebuilds the network."""
        return {
            "model": self.config.model_dump(by_alias=True, mode="json"),
            "classes": list(self.classes),
            "preprocess": self.preprocess.as_dict(),
            "size": list(self.size),
        }


def as_vectors(pooled: Tensor) -> Tensor:
    """Return a head's input as one vector for each photo (B, C): maps are averaged."""
    return pooled.mean((2, 3)) if pooled.ndim == 4 else pooled


def size_of(photos: Tensor) -> tuple[int, int]:
    """Return the height and width of photos (B, 3, h, w)."""
    return photos.shape[2], photos.shape[3]


def frozen_groups(names: list[str], n: int) -> int:
    """Return how many of the named layer groups `freeze_to(n)` freezes. Raises ConfigError."""
    total = len(names)
    if not -total <= n < total:
        raise ConfigError(
            f"freeze_to={n}: this model has {total} layer groups ({', '.join(names)}); "
            f"expected -{total} to {total - 1}"
        )
    return n % total


def new_backbone(config: ModelConfig, seed: int) -> tuple[Backbone, Preprocess, str]:
    """Return the backbone, its preprocessing, and a description of where its weights come from.

    `seed` is used only for random weights.
    """
    with torch_stream(derive(seed, "body")):
        pretrained = load_pretrained(config)
    with torch_stream(derive(seed, "lora")):
        backbone = Backbone(pretrained.network, pretrained.config)
    return backbone, pretrained.preprocess, pretrained.source


def new_classifier(
    backbone: Backbone,
    config: ModelConfig,
    classes: list[str],
    preprocess: Preprocess,
    size: tuple[int, int],
    seed: int,
) -> Classifier:
    """Return a classifier with a new head, whose initial weights depend only on the seed."""
    with torch_stream(derive(seed, HEAD)):
        return Classifier(backbone, config, classes, preprocess, size)


def classifier_from(description: dict[str, Any]) -> Classifier:
    """Rebuild the network described by `Classifier.describe`, without its weights."""
    config = ModelConfig.model_validate(description["model"])
    classes = TypeAdapter(list[str]).validate_python(description["classes"])
    preprocess = TypeAdapter(Preprocess).validate_python(description["preprocess"])
    size = TypeAdapter(tuple[int, int]).validate_python(description["size"])
    return Classifier(Backbone(empty_network(config), config), config, classes, preprocess, size)
