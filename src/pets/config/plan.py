"""Configs of training stages and of the learning rate finder."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pets.config.base import COUNT, Count, Rate, Strict
from pets.config.data import SIZE, Size
from pets.registry import unexpected

# The lr finder's suggestion, or a fraction or multiple of it: auto, auto/100, auto*10.
AutoRate = Annotated[str, Field(pattern=r"^auto([/*][1-9]\d{0,5}(\.\d{1,6})?)?$")]
StageRate = (
    Rate
    | AutoRate
    | Annotated[tuple[Rate, Rate], Field(strict=False)]
    | Annotated[tuple[AutoRate, AutoRate], Field(strict=False)]
)
STAGE_RATE = (
    "a number above 0, or [low, high] spread over the layer groups; "
    "auto, auto/10, [auto/100, auto]: suggested by the lr finder"
)


def in_units(rate: float | str) -> float:
    """Return a rate as a number, with `auto` as 1 and `auto/100` as 0.01."""
    if not isinstance(rate, str):
        return float(rate)
    sign, number = rate.removeprefix("auto")[:1], rate.removeprefix("auto")[1:]
    return 1.0 if not sign else 1 / float(number) if sign == "/" else float(number)


def check_order(lr: float | str | tuple[float | str, float | str]) -> None:
    """Raise ValueError if the first layers would get a higher rate than the head."""
    if isinstance(lr, tuple) and in_units(lr[0]) > in_units(lr[1]):
        shown = ", ".join(str(end) for end in lr)
        raise ValueError(f"lr=[{shown}]: expected [low, high], the head's rate last")


class StageConfig(Strict):
    """One stage of a plan: frozen layers, epochs, learning rates. Defaults: conf/stage."""

    freeze_to: int
    epochs: int = Field(ge=1)
    lr: StageRate = Field(description=STAGE_RATE)
    schedule: Literal["one_cycle", "constant"]
    pct_start: float = Field(gt=0, lt=1)
    div: float = Field(ge=1)
    size: Size | None = Field(description=f"{SIZE}, or null for data.size")

    @model_validator(mode="after")
    def _low_before_high(self) -> "StageConfig":
        check_order(self.lr)
        return self

    @property
    def auto(self) -> bool:
        """Whether the lr finder chooses the rate."""
        ends = self.lr if isinstance(self.lr, tuple) else (self.lr,)
        return any(isinstance(end, str) for end in ends)

    @property
    def rates(self) -> float | tuple[float, float]:
        """`lr` as numbers; with `auto`, in units of the rate that the finder will suggest."""
        if isinstance(self.lr, tuple):
            return in_units(self.lr[0]), in_units(self.lr[1])
        return in_units(self.lr)

    @property
    def ratios(self) -> float | tuple[float, float]:
        """`lr` in units of the head's rate: 1, or (low, 1)."""
        return (self.rates[0] / self.rates[1], 1.0) if isinstance(self.rates, tuple) else 1.0

    def at(self, suggested: float) -> float | tuple[float, float]:
        """Return `lr` as numbers of three digits, with the suggested rate for `auto`."""
        ends = self.rates if isinstance(self.rates, tuple) else (self.rates,)
        numbers = [float(f"{suggested * end:.3g}") for end in ends]
        return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


class PlanConfig(Strict):
    """The stages of training, in order."""

    stages: dict[str, StageConfig]
    epochs: Count | None = Field(None, description=f"{COUNT}, or null for each stage's own")

    @model_validator(mode="before")
    @classmethod
    def _epochs_of_every_stage(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("stages"), dict):
            return values
        stages, epochs = values["stages"], values.get("epochs")
        if not isinstance(epochs, int) or epochs < 1:  # reported once, for this key
            return values
        same = {name: {**stage, "epochs": epochs} for name, stage in stages.items()}
        return {**values, "stages": same}

    @model_validator(mode="after")
    def _at_least_one(self) -> "PlanConfig":
        if not self.stages:
            raise ValueError("stages is empty; expected at least one stage, e.g. plan=frozen4")
        return self


class FinderConfig(Strict):
    """The lr finder's range test, and which suggestion `auto` uses."""

    start_lr: Rate
    end_lr: Rate
    steps: int = Field(ge=30)
    method: list[Literal["valley", "slide", "minimum", "steep"]] = Field(
        min_length=1, description="one or more of valley, slide, minimum, steep"
    )

    @field_validator("method", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("method")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise unexpected("each method once")
        return value

    @model_validator(mode="after")
    def _start_before_end(self) -> "FinderConfig":
        if self.end_lr < 10 * self.start_lr:
            raise ValueError(
                f"start_lr={self.start_lr:g}, end_lr={self.end_lr:g}: expected an end of at least "
                "10 times the start"
            )
        return self
