"""Base classes and types of all configs."""

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pets.trust import canonical

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
COUNT = "a whole number of at least 1"
Count = Annotated[int, Field(ge=1)]
Workers = Annotated[
    Annotated[int, Field(ge=0)] | Literal["auto"],
    Field(description="a whole number of at least 0, or auto"),
]
HUB = "hf-hub:"  # before the name of a repository on the Hugging Face hub
REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
Folder = Annotated[str, Field(min_length=1, description="a folder")]


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
    target: Annotated[str, AfterValidator(canonical)] = Field(
        alias="_target_", description="the dotted path of a class or function"
    )


class NamedLoss(BaseModel):
    """A loss that pets comes with, by its name in `LOSSES`, with its arguments as other keys."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str
