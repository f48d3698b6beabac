"""Configs of the commands: the types of the primary configs in `conf/`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pets.config.base import (
    COUNT,
    HUB,
    REPOSITORY,
    Count,
    Folder,
    NamedLoss,
    PathText,
    Rate,
    Strict,
    Target,
    Workers,
)
from pets.config.data import AugmentConfig, DataConfig, LabelRuleName, Regex, height_width
from pets.config.interpret import InterpretSettings
from pets.config.model import ModelConfig, PrecomputeConfig
from pets.config.plan import AutoRate, FinderConfig, PlanConfig, StageConfig, check_order
from pets.registry import named_in, unexpected

COVERAGE, FALSE_ALARMS = 0.95, 0.05  # the defaults of conf/predict.yaml, serve.yaml, export.yaml
_Bits = Annotated[int, Field(ge=0, le=48)]


class LearnerConfig(Strict):
    """What training and the lr finder share: data, network, optimizer, trainer."""

    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    optimizer: Target
    loss: Annotated[Target | NamedLoss, Field(union_mode="left_to_right")] = Field(
        description="a name of a loss, or the _target_ of one, with its arguments"
    )
    lr_finder: FinderConfig
    precompute: PrecomputeConfig
    cache_dir: Folder
    trainer: dict[str, Any]
    logger: dict[str, Target] = Field(default_factory=dict)  # logger=[] leaves none
    seed: int = Field(ge=0)

    def size_of(self, stage: StageConfig) -> tuple[int, int]:
        """Return the height and width in pixels of a stage's inputs."""
        return self.data.height_width if stage.size is None else height_width(stage.size)

    @model_validator(mode="after")
    def _frozen_norm_allows_precompute(self) -> "LearnerConfig":
        if self.precompute.enabled and self.model.frozen_norm == "train":
            raise ValueError(
                "precompute=true with model.frozen_norm=train: trainable batch norms change the "
                "activations in every step; set model.frozen_norm=eval or precompute=false"
            )
        return self


class SweepConfig(Strict):
    """Options of a sweep as a whole."""

    resume: PathText | None


class TrainConfig(LearnerConfig):
    """Everything that defines a training run."""

    plan: PlanConfig
    compile: bool
    lr_curves: bool
    report: bool
    metrics: list[str | Target] = Field(
        [], description="a list of names, or paths of your own: [top3,macro_f1,my_module.MyMetric]"
    )
    monitor: str = "valid/error_rate"
    callbacks: dict[str, Target] = Field(default_factory=dict)  # callbacks=[] leaves none
    interpret: InterpretSettings
    resume: PathText | None = None
    trust: bool = False
    sweep: SweepConfig
    experiment: None = None
    debug: None = None

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    def with_stage(self, name: str, stage: StageConfig) -> "TrainConfig":
        """Return a copy in which the plan's stage `name` is replaced."""
        plan = self.plan.model_copy(update={"stages": {**self.plan.stages, name: stage}})
        return self.model_copy(update={"plan": plan})


class FindLrConfig(LearnerConfig):
    """The lr finder, with a fresh head or a trained run."""

    run: PathText | None
    trust: bool
    ckpt: Literal["last", "best"]
    freeze_to: int | Literal["auto"] = Field(description="a whole number, or auto")
    lr: AutoRate | Annotated[tuple[AutoRate, AutoRate], Field(strict=False)] = Field(
        description="auto, or [auto/100, auto]: the ratio of the layer groups' rates"
    )

    @model_validator(mode="after")
    def _low_before_high(self) -> "FindLrConfig":
        check_order(self.lr)
        return self


class CacheConfig(Strict):
    """What to do with the cache."""

    action: Literal["list", "clear"]
    cache_dir: Folder


class ModelsConfig(Strict):
    """Which backbones to list."""

    pattern: Annotated[str, Field(min_length=1)] | None


class SummarizeConfig(Strict):
    """The sweep to summarise."""

    sweep: PathText = Field(min_length=1, description="a sweep's folder")


class LookConfig(Strict):
    """The data part of a training config: what `pets look` needs."""

    data: DataConfig
    augment: AugmentConfig
    seed: int = Field(ge=0)
    photos: int = Field(ge=1, le=64)


class ProbeConfig(Strict):
    """The photos on whose features heads are fitted, and how these are computed."""

    run: PathText | None
    trust: bool
    data: DataConfig
    trainer: dict[str, Any]
    engine: Literal["eager", "folded", "compile", "openvino", "auto"]
    cache_dir: Folder
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> "ProbeConfig":
        for key, value, only in (
            ("cache", self.data.cache, "none"), ("sampler", self.data.sampler, "shuffle")
        ):  # fmt: skip
            if value != only:
                raise ValueError(
                    f"data.{key}={value} has no effect here: each photo is read once; leave "
                    f"data.{key}={only}"
                )
        return self


class RaceConfig(ProbeConfig):
    """The backbones to compare."""

    models: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="the word here (weights on this machine), a name, a pattern, or several as "
        "[resnet34,vit*dino*]"
    )
    larger: bool

    @model_validator(mode="after")
    def _larger_than_the_own_size(self) -> "RaceConfig":
        if self.larger and self.data.size != "auto":
            raise ValueError(
                f"larger=true has no effect with data.size={self.data.size}, which is the size for "
                "all backbones; leave one of the two out"
            )
        return self


class CurveConfig(ProbeConfig):
    """The backbone, and the photos that may be added."""

    model: ModelConfig
    seeds: int = Field(ge=2, le=50)
    more: Count | None = Field(description=f"{COUNT}, or null for as many again")


class VerifyConfig(Strict):
    """The photos to check, and the limits beyond which they are reported."""

    data: DataConfig
    small: Count | None = Field(description="pixels of at least 1, or null for data.size")
    tiny: int = Field(ge=0)
    aspect: float = Field(gt=1)
    huge: int = Field(ge=1)
    few: int = Field(ge=0)
    near: _Bits | None = Field(description="bits from 0 to 48, or null for no search")
    shown: int = Field(ge=1)
    fail_on: Literal["error", "warning", "never"]
    cache_dir: Folder

    @property
    def min_side(self) -> int:
        """Minimum pixels of a photo's shorter side."""
        return min(self.data.size_without_weights) if self.small is None else self.small


class DataRoot(Strict):
    """Where the photos of the trained run are now."""

    root: PathText | None


class RunDataConfig(DataRoot):
    """Data settings that may differ from those of the trained run."""

    batch_size: Count | None = Field(description=f"{COUNT}, or null for the run's own")
    num_workers: Workers


class ExternalDataConfig(RunDataConfig):
    """The photos to use, and how to label external ones."""

    label_from: LabelRuleName | None
    label_regex: Regex
    class_folder: Literal["first", "last"] | None
    table: PathText | None
    path_column: str | None
    label_column: str | None

    @property
    def labelling(self) -> dict[str, str]:
        """The given options on how to label external photos."""
        return self.model_dump(exclude={*RunDataConfig.model_fields}, exclude_none=True)


class RunConfig(Strict):
    """A trained run and which of its checkpoints to use."""

    run: PathText
    trust: bool
    ckpt: Literal["last", "best"]


class UnsureConfig(Strict):
    """Whether a rule says what the network is not sure of, and what the rule promises."""

    unsure: Literal["auto"] | None = Field(description="auto or null")
    coverage: float = Field(gt=0, lt=1)
    false_alarms: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _promises_need_a_rule(self) -> "UnsureConfig":
        for key, default in (("coverage", COVERAGE), ("false_alarms", FALSE_ALARMS)):
            if self.unsure is None and getattr(self, key) != default:
                value = getattr(self, key)
                raise ValueError(f"{key}={value:g} has no effect without unsure=auto")
        return self


class EvalConfig(RunConfig):
    """The split to measure the run on."""

    split: Literal["auto", "train", "valid", "test"]
    data: ExternalDataConfig
    trainer: dict[str, Any]


class InterpretConfig(InterpretSettings, EvalConfig):
    """The photos to interpret, and the report's settings."""


class CompareConfig(Strict):
    """The two runs to compare, and the photos."""

    old: PathText
    new: PathText
    trust: bool
    split: Literal["auto", "valid", "test"]
    ckpt: Literal["last", "best"]
    data: ExternalDataConfig
    leave_out: bool
    fail_on: Literal["worse", "significant", "never"]
    shown: int = Field(ge=1)
    trainer: dict[str, Any]

    @model_validator(mode="after")
    def _two_runs(self) -> "CompareConfig":
        if Path(self.old).resolve() == Path(self.new).resolve():
            raise ValueError(f"new={self.new}: is the same run as old; expected another run")
        return self


class LabelConfig(RunConfig):
    """The photos to label, the table of decisions, and the address of the page."""

    data: ExternalDataConfig
    trainer: dict[str, Any]
    out: PathText | None
    every: int = Field(ge=1)
    near: _Bits | None = Field(description="bits from 0 to 48, or null for no search")
    host: str = Field(min_length=1, description="an address of this machine")
    hosts: list[str]
    port: int = Field(ge=0, le=65535)
    cache_dir: Folder
    seed: int = Field(ge=0)

    @field_validator("out")
    @classmethod
    def _is_a_csv_file(cls, out: str | None) -> str | None:
        if out is not None and (Path(out).suffix != ".csv" or Path(out).is_dir()):
            raise unexpected("a file that ends in .csv, or null")
        return out

    @model_validator(mode="after")
    def _labelling_is_for_new_photos(self) -> "LabelConfig":
        if self.data.root is None and (typed := self.data.labelling):
            key, value = next(iter(typed.items()))
            raise ValueError(
                f"data.{key}={value}: has no effect on the run's own photos; it is for photos from "
                "elsewhere, given by data.root=<their folder>"
            )
        return self


class PredictConfig(UnsureConfig, RunConfig):
    """The photos to classify, and the output."""

    source: PathText = Field(min_length=1, description="a photo, folder, glob, URL, list or -")
    out: Annotated[PathText, Field(min_length=1)] | None = Field(description="a file or folder")
    top: int = Field(ge=1)
    top_k: Count | None = Field(description=f"{COUNT}, or null for all classes")
    tta: int = Field(ge=1, le=8)
    temperature: Rate | Literal["run"] = Field(description="a number above 0, or run")
    shard: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    num_workers: Workers
    device: str
    data: DataRoot

    @model_validator(mode="after")
    def _sets_are_of_the_plain_network(self) -> "PredictConfig":
        if self.unsure is None:
            if self.data.root is not None:
                raise ValueError(
                    f"data.root={self.data.root} has no effect without unsure=auto; the photos to "
                    "classify are source=..."
                )
            return self
        for key, value, own in (("tta", self.tta, 1), ("temperature", self.temperature, "run")):
            if value != own:
                raise ValueError(
                    f"{key}={value} with unsure=auto: the sets are promised for the probabilities "
                    f"of {key}={own}; leave {key} out, or unsure"
                )
        return self

    @field_validator("run")
    @classmethod
    def _of_a_repository(cls, run: str) -> str:
        if run.startswith(HUB) and not re.fullmatch(f"{HUB}{REPOSITORY}(@.+)?", run):
            raise unexpected(f"{HUB}user/name, or {HUB}user/name@revision")
        return run


class ExportConfig(UnsureConfig, RunConfig):
    """The formats to export."""

    to: Annotated[
        str | Annotated[list[str], Field(min_length=1)],
        named_in("pets.export.formats:FORMATS"),
    ] = Field(description="a format, or several as [safetensors,onnx]")
    out: PathText | None
    int8: bool
    licence: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")] | None = Field(
        description="an identifier of the hub's, such as apache-2.0 or cc-by-sa-4.0, or null"
    )
    push: Annotated[str, Field(pattern=f"^{REPOSITORY}$")] | None = Field(
        description="user/name of a repository on the Hugging Face hub, or null"
    )
    private: bool
    dry_run: bool
    data: RunDataConfig

    @property
    def formats(self) -> list[str]:
        """Each once, in the order given."""
        return list(dict.fromkeys([self.to] if isinstance(self.to, str) else self.to))

    @model_validator(mode="after")
    def _only_the_hub_is_pushed(self) -> "ExportConfig":
        if self.push is not None and "hub" not in self.formats:
            raise ValueError(f"push={self.push} with to={','.join(self.formats)}: needs to=hub")
        for key, value, off in (("dry_run", self.dry_run, False), ("private", self.private, True)):
            if value is not off and self.push is None:
                raise ValueError(f"{key} has no effect without push=user/name")
        return self

    @model_validator(mode="after")
    def _the_hub_has_no_rule(self) -> "ExportConfig":
        if self.unsure is not None and "hub" in self.formats:
            raise ValueError(
                f"unsure={self.unsure} with to={','.join(self.formats)}: timm's layout has no "
                "place for it; expected to=safetensors or to=onnx"
            )
        return self

    @model_validator(mode="after")
    def _int8_is_onnx(self) -> "ExportConfig":
        if self.int8 and "onnx" not in self.formats:
            reason = "8-bit integers are available for to=onnx only"
            raise ValueError(f"int8=true with to={','.join(self.formats)}: {reason}")
        return self


class ServeLimits(Strict):
    """Limits of a server's requests, which bound its memory and time."""

    megabytes: float = Field(gt=0)
    megapixels: float = Field(gt=0, le=100)
    photos: int = Field(ge=1)
    seconds: float = Field(gt=0)
    decode_seconds: float = Field(gt=0)
    connections: int = Field(ge=1)
    held_megabytes: float = Field(gt=0)


class ServeConfig(UnsureConfig, RunConfig):
    """The address to serve the run at, and the limits of requests."""

    host: str = Field(min_length=1, description="an address of this machine")
    hosts: list[str]
    port: int = Field(ge=0, le=65535)
    threshold: float = Field(ge=0, le=1)
    device: str
    examples: int = Field(ge=0, le=48)
    data: DataRoot
    max_batch: int = Field(ge=1)
    limits: ServeLimits
