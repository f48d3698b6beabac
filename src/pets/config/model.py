"""Configs of the network, and of the cached activations of its frozen backbone."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pets.config.base import Count, PathText, Strict, Target


class LoraConfig(Strict):
    """Adapters beside the backbone's layers, trained instead of its weights (LoRA)."""

    r: Count
    alpha: Count
    target_modules: list[str] | None = None


def _given(args: dict[str, Any]) -> dict[str, Any]:
    """Leave out arguments that are null: timm has its own defaults."""
    return {name: value for name, value in args.items() if value is not None}


class ModelConfig(Strict):
    """Architecture, source of its pretrained weights, new head, and batch norm."""

    library: Literal["torchvision", "timm"]
    name: str
    module: str | None = None
    weights: PathText
    package: str | None
    args: Annotated[dict[str, Any], AfterValidator(_given)] = Field(default_factory=dict)
    groups: list[list[str]] | None
    pool: Literal["auto", "own", "token", "avg", "concat"] | None = None
    head: Target
    frozen_norm: Literal["eval", "train"]
    unfrozen_norm: Literal["eval", "train"]
    channels_last: bool
    grad_checkpointing: bool = False
    lora: LoraConfig | None = None

    @model_validator(mode="after")
    def _of_ones_own(self) -> "ModelConfig":
        """Refuse what a network of one's own does not have."""
        if self.module is None:
            return self
        if self.library != "timm":
            raise ValueError(
                f"module={self.module}: registers networks with timm; expected model.library=timm, "
                "or model.module left out"
            )
        if self.weights in ("default", "package"):
            raise ValueError(
                f"weights={self.weights}: the networks of model.module={self.module} have no such "
                "weights; expected none, a file of weights, or outputs/<run>"
            )
        return self

    @model_validator(mode="after")
    def _of_timm(self) -> "ModelConfig":
        """Refuse keys that torchvision's networks do not have."""
        for key, value, only in (
            ("args", self.args, True),
            ("pool", self.pool, self.pool in ("own", "token")),
            ("grad_checkpointing", self.grad_checkpointing, True),
        ):
            if self.library == "torchvision" and value and only:
                raise ValueError(
                    f"{key}={value}: is for networks of timm; expected model=timm "
                    f"model.name={self.name}, or model.{key} left out"
                )
        return self


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
