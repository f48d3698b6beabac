"""What all parts of a config are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """No unknown keys, no silent conversion of types, no change after the check."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Target(BaseModel):
    """A class or function by its dotted path in `_target_`; the other keys are its arguments."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    target: str = Field(alias="_target_", description="the dotted path of a class or function")
