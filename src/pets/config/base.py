"""What all parts of a config are made of."""

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def expanded(path: str) -> str:
    """A path as it is meant: `~/x` is below the home folder. Raises ValueError without one."""
    found = os.path.expanduser(path)  # noqa: PTH111 - which is not for `~` in a name such as `~a.jpg`
    if found == "~" or found.startswith("~/"):
        raise ValueError(f"{path}: there is no home folder that ~ could be; expected a whole path")
    return found


# A path that a user types: a file or folder of this machine, or an address of another one.
PathText = Annotated[str, AfterValidator(expanded)]


class Strict(BaseModel):
    """No unknown keys, no silent conversion of types, no change after the check."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Target(BaseModel):
    """A class or function by its dotted path in `_target_`; the other keys are its arguments."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    target: str = Field(alias="_target_", description="the dotted path of a class or function")
