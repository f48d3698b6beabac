"""The types of a config: every key, its type and range, checked before any data is read.

The values and their reasons live in `conf/`; this file says which values are possible.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=8, le=4096)]


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


class StageConfig(Strict):
    """One stage of a plan: what is frozen, for how long, at which rates."""

    freeze_to: int
    epochs: int = Field(ge=1)
    lr: Rate | Annotated[tuple[Rate, Rate], Field(strict=False)] = Field(
        description="a number above 0, or [low, high] spread over the layer groups"
    )
    schedule: Literal["one_cycle", "constant"]
    pct_start: float = Field(gt=0, lt=1)
    div: float = Field(ge=1)

    @model_validator(mode="after")
    def _low_before_high(self) -> "StageConfig":
        if isinstance(self.lr, tuple) and self.lr[0] > self.lr[1]:
            raise ValueError(f"lr={list(self.lr)}: expected [low, high], the head's rate last")
        return self


class PlanConfig(Strict):
    """The stages of training, in their order."""

    stages: dict[str, StageConfig]

    @model_validator(mode="after")
    def _at_least_one(self) -> "PlanConfig":
        if not self.stages:
            raise ValueError("stages is empty; expected at least one stage, e.g. plan=frozen4")
        return self


class TrainConfig(Strict):
    """Everything that a training run is made of."""

    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    plan: PlanConfig
    optimizer: Target
    trainer: dict[str, Any]
    callbacks: dict[str, Target]
    logger: dict[str, Target]
    seed: int = Field(ge=0)
    resume: str | None = None
    experiment: None = None


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
