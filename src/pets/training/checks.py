"""Checks of a config beyond its types, before any photo is read."""

from __future__ import annotations

from collections.abc import Mapping

from pets.config import LearnerConfig, StageConfig, TrainConfig
from pets.config.instantiate import build, check_signature
from pets.data.transforms import Preprocess, check_augment
from pets.errors import ConfigError
from pets.features.engine import check_engine
from pets.models.backbone import Backbone
from pets.models.classifier import HEAD, frozen_groups
from pets.system.devices import check_compiler, device_type
from pets.training.inputs import check_inputs, on_activations
from pets.training.losses import check_loss
from pets.training.module import new_model
from pets.training.trainer import build_callbacks, check_trainer


def check_signatures(config: LearnerConfig) -> None:
    """Check that every `_target_` exists and takes its arguments. Raises ConfigError."""
    check_augment(config.augment)
    check_signature("model.head", config.model.head, ("features", "classes"))
    check_signature("optimizer", config.optimizer, ("params",))
    check_loss(config.loss, mixes=bool(config.augment.batch))
    if config.data.prepare is not None:
        check_signature("data.prepare", config.data.prepare, ("root",))
    for name, node in config.callbacks.items() if isinstance(config, TrainConfig) else ():
        check_signature(f"callbacks.{name}", node)
    for name, node in config.logger.items():
        check_signature(f"logger.{name}", node, ("save_dir",))
    check_trainer(config.trainer, trains=isinstance(config, TrainConfig))
    check_engine(config.precompute.engine, device_type(config.trainer.get("accelerator", "auto")))
    if isinstance(config, TrainConfig) and config.compile:
        check_compiler()


def check_plan(config: TrainConfig, backbone: Backbone, preprocess: Preprocess) -> None:
    """Check that all stages suit the backbone, and that network and callbacks can be built.

    Raises:
        ConfigError: A value is wrong; the message names its key.
    """
    for stage in config.plan.stages.values():
        frozen_groups([*(name for name, _ in backbone.groups), HEAD], stage.freeze_to)
    stages = {f"plan.stages.{name}": stage for name, stage in config.plan.stages.items()}
    check_network(config, backbone, preprocess, stages)
    build_callbacks(config.callbacks)


def check_network(
    config: LearnerConfig,
    backbone: Backbone,
    preprocess: Preprocess,
    stages: Mapping[str, StageConfig],
) -> None:
    """Check that head, optimizer and the stages' inputs suit the backbone, by building the network
    for two classes. Raises ConfigError."""
    model = new_model(config, backbone, preprocess, ["one", "other"])
    build("optimizer", config.optimizer, params=list(model.head.parameters()))
    check_inputs(config, stages, model)
    precomputed = all(on_activations(config, model, stage) for stage in stages.values())
    if isinstance(config, TrainConfig) and config.compile and precomputed:
        raise ConfigError(
            "compile=true has no effect with precompute=true, since every stage runs on "
            "activations; precompute.engine=compile compiles the pass"
        )
