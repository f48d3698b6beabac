"""Learning rates and momentum: discriminative over layer groups, scheduled over steps."""

from __future__ import annotations

import inspect
import math
from math import ceil
from typing import Any

import torch
from hydra.utils import get_object
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from pets.config import StageConfig, Target, TrainConfig
from pets.config.instantiate import build
from pets.errors import ConfigError
from pets.models.classifier import Classifier

# fastai's values, also used in Smith's one-cycle paper: momentum falls while the rate rises.
MOMENTUM_LOW, MOMENTUM_HIGH = 0.85, 0.95
# The last rate is lr / (div * FINAL_DIV): with div=25 fastai's lr / 250,000.
FINAL_DIV = 1e4


def spread(lr: float | tuple[float, float], n: int) -> list[float]:
    """Return a rate for each of n layer groups: constant, or [low, high] spaced geometrically."""
    if isinstance(lr, float | int):
        return [float(lr)] * n
    low, high = lr
    if n == 1:
        return [high]
    return [low * (high / low) ** (i / (n - 1)) for i in range(n)]


def param_groups(model: Classifier, rates: list[float]) -> list[dict[str, Any]]:
    """Return the trainable parameters by layer group; norms and biases without weight decay.

    Each group carries its layer group's `name` and its `lr`.
    """
    groups: list[dict[str, Any]] = []
    for (name, parameters), rate in zip(model.layer_groups, rates, strict=True):
        training = [p for p in parameters if p.requires_grad]
        group = {"lr": rate, "name": name}
        groups.append({"params": [p for p in training if p.ndim > 1], **group})
        others = [p for p in training if p.ndim <= 1]
        groups.append({"params": others, **group, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def build_optimizer(target: Target, params: list[Any], lr: float) -> Optimizer:
    """Build the config's optimizer.

    Groups of parameters have rates of their own, but an optimizer may need an `lr` to be made.
    """
    takes_lr = "lr" in inspect.signature(get_object(target.target)).parameters
    given = {"lr": lr} if takes_lr else {}
    optimizer: Optimizer = build("optimizer", target, params=params, **given)
    return optimizer


def check_steps(config: TrainConfig, batches: int) -> None:
    """Raise ConfigError if a stage has too few steps for its schedule.

    `batches` is their number in an epoch.
    """
    for name, stage in config.plan.stages.items():
        steps = stage.epochs * ceil(batches / config.trainer.get("accumulate_grad_batches", 1))
        if stage.schedule == "one_cycle" and steps < 4:
            key = f"plan.stages.{name}"
            raise ConfigError(
                f"{key}.epochs={stage.epochs}: one_cycle over {steps} steps cannot rise and fall "
                f"(batches in an epoch: {batches}); expected at least 4: more epochs, a smaller "
                f"data.batch_size, or {key}.schedule=constant"
            )


def schedule(optimizer: Optimizer, stage: StageConfig, steps: int) -> LRScheduler | None:
    """Build the stage's schedule over `steps` optimizer steps; None for constant rates.

    One-cycle (Smith 2018, in fastai's shape): cosine from lr/div up to lr in the first
    `pct_start` of the steps, at least two, then down to lr/(div * 10,000); the first moment goes
    from 0.95 to 0.85 and back.
    """
    if stage.schedule == "constant":
        return None
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=max(stage.pct_start, 2 / steps),
        div_factor=stage.div,
        final_div_factor=FINAL_DIV,
        cycle_momentum=momentum_of(optimizer.param_groups[0]) is not None,
        base_momentum=MOMENTUM_LOW,
        max_momentum=MOMENTUM_HIGH,
    )


def planned(target: Target, stage: StageConfig, steps: int) -> list[tuple[float, float]]:
    """Return the highest learning rate and the momentum of each of a stage's steps.

    The momentum is NaN for optimizers that have none.
    """
    (lr,) = spread(stage.rates, 1)
    weights = {"params": [torch.nn.Parameter(torch.zeros(2, 2))], "lr": lr}
    optimizer = build_optimizer(target, [weights], lr)
    scheduler, values = schedule(optimizer, stage, steps), []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        momentum = momentum_of(group)
        values.append((float(group["lr"]), math.nan if momentum is None else momentum))
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return values


def momentum_of(group: dict[str, Any]) -> float | None:
    """Return the momentum of a group: Adam's beta1 or SGD's momentum; None if there is none."""
    if "betas" in group:
        return float(group["betas"][0])
    return float(group["momentum"]) if group.get("momentum") else None
