"""Base classes and types of all configs."""

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def expanded(path: str) -> str:
    """Expand `~/x` to a path below the home folder. Raises ValueError if there is none."""
    result = os.path.expanduser(path)  # noqa: PTH111 - pathlib also expands names such as `~a.jpg`
    if result == "~" or result.startswith("~/"):
        raise ValueError(f"{path}: there is no home folder for ~; expected a full path")
    return result


# A path that a user types: a local file or folder, or a URL.
PathText = Annotated[str, AfterValidator(expanded)]


class Strict(BaseModel):
    """No unknown keys, no implicit conversion of types, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Target(BaseModel):
    """A class or function, by its dotted path in `_target_`, with its arguments as other keys."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    target: str = Field(alias="_target_", description="the dotted path of a class or function")


class NamedLoss(BaseModel):
    """A loss that pets comes with, by its name in `LOSSES`, with its arguments as other keys."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str
