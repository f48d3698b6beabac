"""Bodies without weights for tests, and where their units should look."""

from collections import OrderedDict
from functools import cache

import torch
from torch import nn

from pets.config import ModelConfig
from pets.interpretation.receptive import Span
from pets.models.backbone import Backbone
from pets.models.weights import empty_network
from tests.conftest import train_config


@cache
def config() -> ModelConfig:
    return train_config("model=resnet18", "model.weights=none").model


@cache
def backbone(library: str, name: str) -> Backbone:
    torch.manual_seed(0)
    of_it = config().model_copy(update={"library": library, "name": name, "groups": None})
    return Backbone(empty_network(of_it), of_it).eval()


def resnet18() -> Backbone:
    return backbone("torchvision", "resnet18")


def handmade(**layers: nn.Module) -> Backbone:
    """A backbone of these layers."""
    network = nn.Sequential(OrderedDict(layers, fc=nn.Identity()))
    return Backbone(network, config().model_copy(update={"groups": None})).eval()


def spans(low: int, high: int, stride: int, units: int, side: int) -> tuple[Span, ...]:
    """`units` shifted alike, as far as the photo's `side` goes."""
    return tuple((max(low + i * stride, 0), min(high + i * stride, side)) for i in range(units))
