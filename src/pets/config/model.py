"""Configs of the network, and of the cached activations of its frozen backbone."""

from typing import Literal

from pydantic import Field, model_validator

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


class PrecomputeConfig(Strict):
    """Whether and how to compute activations once, for stages that train only the head."""

    enabled: bool
    views: int = Field(ge=0, le=64)
    engine: Literal["eager", "folded", "compile", "openvino", "auto"]
    dtype: Literal["float32", "float16"]

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> "PrecomputeConfig":
        for key, value, off in (
            ("views", self.views, 0),
            ("engine", self.engine, "eager"),
            ("dtype", self.dtype, "float32"),
        ):
            if value != off and not self.enabled:
                raise ValueError(
                    f"{key}={value} has no effect without precompute=true; add it, or leave "
                    f"{key}={off}"
                )
        return self
