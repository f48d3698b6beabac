"""Config of the report on a model's mistakes."""

from typing import Annotated

from pydantic import Field

from pets.config.base import Strict


class InterpretSettings(Strict):
    """What the report contains, and how much of it."""

    tta: int = Field(ge=1, le=8)
    neighbours: int = Field(ge=0, le=20)
    top_losses: int = Field(ge=1, le=200)
    gallery: int = Field(ge=1, le=50)
    channels: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)]] = Field(
        description="a whole number of at least 0, or a list of channels as [0,7,12]"
    )
    patches: int = Field(ge=1, le=50)
    megabytes: float = Field(gt=0, le=500)
