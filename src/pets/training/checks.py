"""Checks of a config beyond its types, before any photo is read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from pets.config import LearnerConfig, NamedLoss, StageConfig, Target, TrainConfig
from pets.config.instantiate import check_signature
from pets.data.labels import label_rule
from pets.data.photos import Photos
from pets.data.transforms import Preprocess, check_augment
from pets.errors import ConfigError, reason_of
from pets.features.engine import check_engine
from pets.models.backbone import Backbone
from pets.models.classifier import HEAD, frozen_groups
from pets.system.devices import check_compiler, device_type
from pets.training.inputs import check_inputs, on_activations
from pets.training.loggers import check_loggers
from pets.training.losses import Criterion, loss_target, new_loss
from pets.training.measures import check_callbacks, check_metrics
from pets.training.module import count_classes, new_model
from pets.training.rates import build_optimizer, check_steps
from pets.training.trainer import check_trainer


def check_signatures(config: LearnerConfig) -> None:
    """Check that every `_target_` exists and takes its arguments. Raises ConfigError."""
    label_rule(config.data.label_from)
    check_augment(config.augment)
    check_signature("model.head", config.model.head, ("features", "classes"))
    check_signature("optimizer", config.optimizer, ("params", "lr"))
    build_optimizer(config.optimizer, [torch.nn.Parameter(torch.zeros(2, 2))], lr=1e-3)
    check_loss(config.loss, mixes=bool(config.augment.batch))
    _check_balance(config)
    if config.data.prepare is not None:
        check_signature("data.prepare", config.data.prepare, ("root",))
    if isinstance(config, TrainConfig):
        check_metrics(config)
        for name, node in config.callbacks.items():
            check_signature(f"callbacks.{name}", node)
    check_loggers(config.logger)
    check_trainer(config.trainer, trains=isinstance(config, TrainConfig))
    check_engine(config.precompute.engine, device_type(config.trainer.get("accelerator", "auto")))
    if isinstance(config, TrainConfig) and config.compile:
        check_compiler()


def check_loss(loss: NamedLoss | Target, mixes: bool = False) -> None:
    """Check that the loss exists, takes its arguments, and can be called.

    It is called with class indices, and with label shares if batch augmentation `mixes` photos.
    Raises ConfigError.
    """
    target = loss_target(loss)
    check_signature("loss", target, ("class_counts", "class_names"))
    # How many classes there are is not known yet; a list in the config may have a value for each.
    lists = [value for value in (target.model_extra or {}).values() if isinstance(value, list)]
    classes = max([len(value) for value in lists] or [3])
    criterion = new_loss(loss, torch.ones(classes))
    logits = torch.linspace(-1, 1, 2 * classes).reshape(2, classes).requires_grad_()
    _call_once(target, criterion, logits, torch.tensor([0, classes - 1]), "class indices (B,)")
    if mixes:
        shares = torch.full((2, classes), 1 / classes)
        name = "label shares (B, C), which augment.batch makes"
        _call_once(target, criterion, logits, shares, name)


def _call_once(
    target: Target, criterion: Criterion, logits: Tensor, targets: Tensor, what: str
) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = criterion(logits, targets)
        if not isinstance(loss, Tensor):
            raise TypeError(f"returns a {type(loss).__name__}")
        if loss.shape not in ((), (2,)) or not loss.is_floating_point():
            raise ValueError(f"returns {loss.dtype} of shape {tuple(loss.shape)} for 2 photos")
        if not loss.isfinite().all() or not loss.requires_grad:
            raise ValueError(f"returns {loss.tolist()}, which is not finite or has no gradient")
    except Exception as error:  # the loss may be anybody's
        reason = reason_of(error)
        raise ConfigError(
            f"loss._target_={target.target}: cannot be called with logits (B, C) and {what}: "
            f"{reason}; expected a loss for each photo (B,) or their mean, as of "
            "torch.nn.CrossEntropyLoss"
        ) from error


def _check_balance(config: LearnerConfig) -> None:
    """Refuse to make up for rare classes twice."""
    sampler, loss = config.data.sampler, config.loss
    weight = (loss.model_extra or {}).get("weight") if isinstance(loss, NamedLoss) else None
    if sampler != "shuffle" and weight == "auto":
        raise ConfigError(
            f"data.sampler={sampler} with loss.weight=auto makes up for rare classes twice; leave "
            "one of the two out"
        )


def check_classes(config: LearnerConfig, photos: Photos) -> None:
    """Check that the loss suits the names of the classes. Raises ConfigError."""
    new_loss(config.loss, count_classes(photos), photos.classes)


def check_plan(config: TrainConfig, backbone: Backbone, preprocess: Preprocess) -> None:
    """Check that all stages suit the backbone, and that network and callbacks can be built.

    Raises:
        ConfigError: A value is wrong; the message names its key.
    """
    for stage in config.plan.stages.values():
        frozen_groups([*(name for name, _ in backbone.groups), HEAD], stage.freeze_to)
    limits = [config.trainer.get(f"{name}_batches") for name in ("limit_train", "overfit")]
    for limit in limits:
        if type(limit) is int and limit > 0:
            check_steps(config, limit)
    stages = {f"plan.stages.{name}": stage for name, stage in config.plan.stages.items()}
    check_network(config, backbone, preprocess, stages)
    check_callbacks(config)


def check_network(
    config: LearnerConfig,
    backbone: Backbone,
    preprocess: Preprocess,
    stages: Mapping[str, StageConfig],
) -> None:
    """Check that head and the stages' inputs suit the backbone. Raises ConfigError.

    The network is built for two classes.
    """
    model = new_model(config, backbone, preprocess, ["one", "other"])
    check_inputs(config, stages, model)
    precomputed = all(on_activations(config, model, stage) for stage in stages.values())
    frozen = all(model.trained_groups(stage.freeze_to) == [HEAD] for stage in stages.values())
    for key, given in (
        ("grad_checkpointing", config.model.grad_checkpointing),
        ("lora", config.model.lora is not None),
    ):
        if given and frozen:
            raise ConfigError(
                f"model.{key} has no effect: no stage trains the backbone; expected a stage with "
                f"another freeze_to than -1, or no model.{key}"
            )
    if isinstance(config, TrainConfig) and config.compile and precomputed:
        raise ConfigError(
            "compile=true has no effect with precompute=true, since every stage runs on "
            "activations; precompute.engine=compile compiles the pass"
        )
