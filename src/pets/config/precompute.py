"""Whether and how a frozen body's activations are computed once and kept."""

from typing import Literal

from pydantic import Field, model_validator

from pets.config.base import Strict


class PrecomputeConfig(Strict):
    """Photos pass a frozen body once; stages that train the head alone run on what came out."""

    enabled: bool
    views: int = Field(ge=0, le=64)
    engine: Literal["eager", "folded", "compile", "openvino", "auto"]
    dtype: Literal["float32", "float16"]

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> "PrecomputeConfig":
        if self.views and not self.enabled:
            raise ValueError(
                f"views={self.views} has no effect without precompute=true; add it, or set views=0"
            )
        return self
