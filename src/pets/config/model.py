"""Config of the network."""

from typing import Literal

from pets.config.base import PathText, Strict, Target


class ModelConfig(Strict):
    """Architecture, source of its pretrained weights, new head, and batch norm."""

    library: Literal["torchvision", "timm"]
    name: str
    weights: PathText
    package: str | None
    groups: list[list[str]] | None
    head: Target
    frozen_norm: Literal["eval", "train"]
    unfrozen_norm: Literal["eval", "train"]
    channels_last: bool
