"""The types of a config: every key, its type and range, checked before any data is read.

The values and their reasons live in `conf/`; this file says which values are possible.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=8, le=4096)]
# What the lr finder finds, or a part or multiple of it: auto, auto/100, auto*10.
AutoRate = Annotated[str, Field(pattern=r"^auto([/*][1-9]\d*(\.\d+)?)?$")]


class Strict(BaseModel):
    """No unknown keys, no silent conversion of types, no change after the check."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Target(BaseModel):
    """A class or function by its dotted path in `_target_`; the other keys are its arguments."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    target: str = Field(alias="_target_", description="the dotted path of a class or function")


class DataConfig(Strict):
    """Where the photos are, how they are labelled and split, and how they are fed."""

    name: str
    root: str = Field(min_length=1, description="a folder")
    prepare: Target | None
    images: str
    photo_list: str | None
    label_from: Literal["filename", "folder", "table"]
    label_regex: str | None
    table: str | None
    path_column: str | None
    label_column: str | None
    split: Literal["auto", "random", "official", "folders", "column"]
    split_column: str | None
    valid_pct: Fraction
    test_pct: Fraction
    carve_pct: Fraction
    split_seed: int
    on_bad_image: Literal["error", "skip"]
    on_unlabelled: Literal["error", "skip"]
    size: Side | Annotated[tuple[Side, Side], Field(strict=False)] = Field(
        description="pixels: one number from 8 to 4096, or [height, width]"
    )
    batch_size: int = Field(ge=1)
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        description="a whole number of at least 0, or auto"
    )

    @property
    def height_width(self) -> tuple[int, int]:
        """`size` as (height, width) in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> "DataConfig":
        """A key that the chosen labelling or split would ignore is a mistake, not a wish."""
        if self.label_from == "filename" and self.label_regex is None:
            raise ValueError(
                "label_from=filename needs a regex, as in \"data.label_regex='^(.+)_\\d+'\""
            )
        if self.label_from != "filename" and self.label_regex is not None:
            raise ValueError(
                f"label_regex has no effect with label_from={self.label_from}; "
                "set data.label_from=filename or data.label_regex=null"
            )
        columns = {"path_column": self.path_column, "label_column": self.label_column}
        if self.label_from == "table":
            missing = [k for k, v in {"table": self.table, **columns}.items() if v is None]
            if missing:
                raise ValueError(f"label_from=table needs data.{missing[0]}")
        elif self.table is not None:
            raise ValueError(
                f"table has no effect with label_from={self.label_from}; set data.label_from=table"
            )
        if self.split == "column" and (self.split_column is None or self.label_from != "table"):
            raise ValueError("split=column needs data.label_from=table and data.split_column")
        if self.split != "column" and self.split_column is not None:
            raise ValueError(
                f"split_column has no effect with split={self.split}; set data.split=column"
            )
        for name, value in (("valid_pct", self.valid_pct), ("carve_pct", self.carve_pct)):
            if value == 0:
                raise ValueError(f"{name}=0: expected above 0, something must be validated on")
        if self.valid_pct + self.test_pct >= 0.95:
            raise ValueError(
                f"valid_pct + test_pct = {self.valid_pct + self.test_pct:g} leaves nothing to "
                "train on; expected less than 0.95"
            )
        return self


class AugmentConfig(Strict):
    """What happens to training photos: one by one, then to whole batches."""

    crop: Target | None
    photo: dict[str, Target]
    batch: dict[str, Target]


class ModelConfig(Strict):
    """Architecture, where its pretrained weights come from, and the new head."""

    library: Literal["torchvision", "timm"]
    name: str
    weights: str
    package: str | None
    groups: list[list[str]] | None
    head: Target
    frozen_norm: Literal["eval", "train"]
    unfrozen_norm: Literal["eval", "train"]
    channels_last: bool


StageRate = (
    Rate
    | AutoRate
    | Annotated[tuple[Rate, Rate], Field(strict=False)]
    | Annotated[tuple[AutoRate, AutoRate], Field(strict=False)]
)
STAGE_RATE = (
    "a number above 0, or [low, high] spread over the layer groups; "
    "auto, auto/10, [auto/100, auto]: found by the lr finder"
)


def in_units(rate: float | str) -> float:
    """A rate as a number; `auto` as 1, `auto/100` as 0.01."""
    if not isinstance(rate, str):
        return float(rate)
    sign, number = rate.removeprefix("auto")[:1], rate.removeprefix("auto")[1:]
    return 1.0 if not sign else 1 / float(number) if sign == "/" else float(number)


def check_order(lr: float | str | tuple[float | str, float | str]) -> None:
    """Raises ValueError where the first layers would get a higher rate than the head."""
    if isinstance(lr, tuple) and in_units(lr[0]) > in_units(lr[1]):
        shown = ", ".join(str(end) for end in lr)
        raise ValueError(f"lr=[{shown}]: expected [low, high], the head's rate last")


class StageConfig(Strict):
    """One stage of a plan: what is frozen, for how long, at which rates."""

    freeze_to: int
    epochs: int = Field(ge=1)
    lr: StageRate = Field(description=STAGE_RATE)
    schedule: Literal["one_cycle", "constant"]
    pct_start: float = Field(gt=0, lt=1)
    div: float = Field(ge=1)

    @model_validator(mode="after")
    def _low_before_high(self) -> "StageConfig":
        check_order(self.lr)
        return self

    @property
    def auto(self) -> bool:
        """Whether the lr finder is to choose the rate."""
        ends = self.lr if isinstance(self.lr, tuple) else (self.lr,)
        return any(isinstance(end, str) for end in ends)

    @property
    def rates(self) -> float | tuple[float, float]:
        """`lr` in numbers; in units of the rate that is to be found where it is `auto`."""
        if isinstance(self.lr, tuple):
            return in_units(self.lr[0]), in_units(self.lr[1])
        return in_units(self.lr)

    @property
    def ratios(self) -> float | tuple[float, float]:
        """`lr` in units of the head's rate: 1, or (low, 1)."""
        return (self.rates[0] / self.rates[1], 1.0) if isinstance(self.rates, tuple) else 1.0

    def at(self, found: float) -> float | tuple[float, float]:
        """`lr` in numbers of three digits, where `auto` is the rate that was found."""
        ends = self.rates if isinstance(self.rates, tuple) else (self.rates,)
        numbers = [float(f"{found * end:.3g}") for end in ends]
        return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


class PlanConfig(Strict):
    """The stages of training, in their order."""

    stages: dict[str, StageConfig]

    @model_validator(mode="after")
    def _at_least_one(self) -> "PlanConfig":
        if not self.stages:
            raise ValueError("stages is empty; expected at least one stage, e.g. plan=frozen4")
        return self


class FinderConfig(Strict):
    """The lr finder's mock training, and which of its suggestions `auto` takes."""

    start_lr: Rate
    end_lr: Rate
    steps: int = Field(ge=20)
    method: list[Literal["valley", "slide", "minimum", "steep"]] = Field(
        min_length=1, description="one or more of valley, slide, minimum, steep"
    )

    @field_validator("method", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _start_before_end(self) -> "FinderConfig":
        if self.end_lr < 10 * self.start_lr:
            raise ValueError(
                f"start_lr={self.start_lr:g}, end_lr={self.end_lr:g}: expected an end of at least "
                "10 times the start"
            )
        return self


class LearnerConfig(Strict):
    """What training and the lr finder have in common: data, network, optimizer, machine."""

    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    optimizer: Target
    lr_finder: FinderConfig
    trainer: dict[str, Any]
    logger: dict[str, Target]
    seed: int = Field(ge=0)


class TrainConfig(LearnerConfig):
    """Everything that a training run is made of."""

    plan: PlanConfig
    callbacks: dict[str, Target]
    resume: str | None = None
    experiment: None = None


class FindLrConfig(LearnerConfig):
    """Where the lr finder begins: at a fresh head, or at a trained run."""

    run: str | None
    ckpt: Literal["last", "best"]
    freeze_to: int | Literal["auto"] = Field(description="a whole number, or auto")
    lr: AutoRate | Annotated[tuple[AutoRate, AutoRate], Field(strict=False)] = Field(
        description="auto, or [auto/100, auto]: how the layer groups' rates relate"
    )
    experiment: None = None

    @model_validator(mode="after")
    def _low_before_high(self) -> "FindLrConfig":
        check_order(self.lr)
        return self


class LookConfig(Strict):
    """The data part of a training config: what `pets look` needs."""

    data: DataConfig
    augment: AugmentConfig
    seed: int = Field(ge=0)
    photos: int = Field(ge=1, le=64)


class RunDataConfig(Strict):
    """What may differ from the trained run when it is used again."""

    root: str | None
    batch_size: Annotated[int, Field(ge=1)] | None = Field(
        description="a whole number of at least 1, or null for the run's own"
    )
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        description="a whole number of at least 0, or auto"
    )


class EvalConfig(Strict):
    """A trained run and the split to measure it on."""

    run: str
    split: Literal["auto", "train", "valid", "test"]
    ckpt: Literal["last", "best"]
    data: RunDataConfig
    trainer: dict[str, Any]


class PredictConfig(Strict):
    """A trained run and the photos to name."""

    run: str
    source: str
    ckpt: Literal["last", "best"]
    out: str | None
    top: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        description="a whole number of at least 0, or auto"
    )
    device: str
