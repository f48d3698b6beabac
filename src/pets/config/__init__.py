"""Types of the configs: every key with its type and range, checked before any data is read.

Defaults and their reasons are in `conf/`; these classes define which values are possible.
"""

from pets.config.base import NamedLoss, Strict, Target
from pets.config.commands import (
    CacheConfig,
    CompareConfig,
    CurveConfig,
    EvalConfig,
    ExportConfig,
    ExternalDataConfig,
    FindLrConfig,
    InterpretConfig,
    LabelConfig,
    LearnerConfig,
    LookConfig,
    ModelsConfig,
    PredictConfig,
    ProbeConfig,
    RaceConfig,
    RunDataConfig,
    ServeConfig,
    ServeLimits,
    SummarizeConfig,
    TrainConfig,
    UnsureConfig,
    VerifyConfig,
)
from pets.config.data import AugmentConfig, DataConfig
from pets.config.interpret import InterpretSettings
from pets.config.model import LoraConfig, ModelConfig, PrecomputeConfig
from pets.config.monitor import Monitor
from pets.config.plan import FinderConfig, PlanConfig, StageConfig
from pets.config.slurm import SlurmSettings

__all__ = [
    "AugmentConfig", "CacheConfig", "CompareConfig", "CurveConfig", "DataConfig", "EvalConfig",
    "ExportConfig", "ExternalDataConfig", "FindLrConfig", "FinderConfig", "InterpretConfig",
    "InterpretSettings", "LabelConfig", "LearnerConfig", "LookConfig", "LoraConfig", "ModelConfig",
    "ModelsConfig", "Monitor", "NamedLoss", "PlanConfig", "PrecomputeConfig", "PredictConfig",
    "ProbeConfig", "RaceConfig", "RunDataConfig", "ServeConfig", "ServeLimits", "SlurmSettings",
    "StageConfig", "Strict", "SummarizeConfig", "Target", "TrainConfig", "UnsureConfig",
    "VerifyConfig",
]  # fmt: skip
