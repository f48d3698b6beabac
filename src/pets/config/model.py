"""The network: architecture, weights, head, and how it is frozen."""

from typing import Literal

from pets.config.base import PathText, Strict, Target


class ModelConfig(Strict):
    """Architecture, where its pretrained weights come from, and the new head."""

    library: Literal["torchvision", "timm"]
    name: str
    weights: PathText
    package: str | None
    groups: list[list[str]] | None
    head: Target
    frozen_norm: Literal["eval", "train"]
    unfrozen_norm: Literal["eval", "train"]
    channels_last: bool
