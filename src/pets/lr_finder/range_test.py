"""LR range test on a copy of the model, with no side effects."""

from __future__ import annotations

import copy
import math
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from pets.config import FinderConfig, LearnerConfig
from pets.data.photos import Photos
from pets.distributed.process_group import reduce
from pets.distributed.ranks import ranks
from pets.errors import DataError
from pets.lr_finder.curve import SKIPPED_AT_START, Curve
from pets.models.classifier import Classifier
from pets.seeding import derive
from pets.training.module import build_stage
from pets.training.stage import Stage
from pets.training.trainer import batch_loss, build_trainer

# Decay of the running loss (fastai's), and the multiple of its minimum at which the test stops.
MEMORY, EXPLOSION = 0.98, 4.0
# An exploding loss is not an error here, and nothing is validated.
_LIMITS: dict[str, Any] = {
    "detect_anomaly": False, "limit_train_batches": None, "limit_val_batches": 0,
}  # fmt: skip


def record(stage: Stage, model: Classifier, photos: Photos, config: LearnerConfig) -> Curve:
    """Record the loss of a stage over growing rates, starting from the network's current weights.

    The range test of Smith (2015, arXiv:1506.01186): one optimizer step per rate, from `start_lr`
    to `end_lr` by a constant factor, over as many epochs as needed. It trains a copy of the network
    with its own optimizer and data loader; random states are restored. All groups keep the ratios
    of the stage's `lr`; the rates of the curve are those of the group with the highest rate.

    Returns:
        The curve, the same on every rank.

    Raises:
        DataError: There is less than one batch of photos.
    """
    settings, name = config.lr_finder, stage.name
    # Constant rates relative to the highest, and separate random streams.
    plan = stage.config.model_copy(update={"lr": stage.config.ratios, "schedule": "constant"})
    mock = Stage.of_plan(f"lr_finder/{name}", plan, stage.inputs, config.seed)
    mock = replace(mock, noise_seed=derive(config.seed, "lr_finder", name))
    ramp, started = _Ramp(settings), time.perf_counter()
    with isolate_rng():
        module, data = build_stage(mock, config, copy.deepcopy(model), photos)
        values = {**config.trainer, **_LIMITS, "max_steps": settings.steps}
        build_trainer(values, max_epochs=-1, callbacks=[ramp]).fit(module, datamodule=data)
    steps, requested = len(ramp.losses), settings.steps
    early = f"ended by the Trainer, {steps} of {requested} steps"
    return Curve(
        lrs=np.array(ramp.lrs[:steps]),
        losses=np.array(ramp.losses),
        settings=settings,
        ended=ramp.ended or ("finished" if steps == requested else early),
        photos=ramp.photos,
        seconds=time.perf_counter() - started,
    )


class RunningMean:
    """An exponential moving average with bias correction, as in Adam."""

    def __init__(self, memory: float = MEMORY) -> None:
        self.memory, self.sum, self.weight = memory, 0.0, 0.0

    def update(self, value: float) -> float:
        """Add a value and return the average."""
        self.sum = self.memory * self.sum + (1 - self.memory) * value
        self.weight = self.memory * self.weight + (1 - self.memory)
        return self.sum / self.weight


class _Ramp(Callback):
    """Raises the rate before each step, records the loss, and stops when it explodes."""

    def __init__(self, settings: FinderConfig) -> None:
        self.settings = settings
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.parts: list[Tensor] = []  # losses of the batches of the current step
        self.ended, self.photos = "", 0
        self.running, self.lowest = RunningMean(), math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loader: Any = trainer.train_dataloader
        if len(loader.sampler) < loader.batch_size:
            raise DataError(
                f"lr finder: {len(loader.sampler)} training photos do not fill a batch of "
                f"{loader.batch_size}, and a loss of the same few photos says nothing about a "
                f"rate; expected data.batch_size={len(loader.sampler)} or less, or a given lr"
            )
        self.ratios = [group["lr"] for group in trainer.optimizers[0].param_groups]
        hidden = not (ranks().writer and sys.stderr.isatty())
        steps = self.settings.steps
        self.bar = tqdm(total=steps, desc="lr finder", unit="step", leave=False, disable=hidden)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        start, end = self.settings.start_lr, self.settings.end_lr
        lr = start * (end / start) ** (len(self.losses) / (self.settings.steps - 1))
        for group, ratio in zip(optimizer.param_groups, self.ratios, strict=True):
            group["lr"] = lr * ratio
        self.lrs.append(lr)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.parts.append(batch_loss(trainer, outputs))
        self.photos += len(batch[0]) * trainer.world_size
        if len(self.lrs) == len(self.losses):
            return  # gradients are still being accumulated
        # The mean over the step's batches and all ranks, so that all ranks stop at the same step.
        loss = float(reduce(torch.stack(self.parts).mean(), "mean"))
        self.parts.clear()
        self.bar.update()
        if not math.isfinite(loss):
            self.ended = f"the loss became {loss} at {self.lrs[-1]:.1e}"
            trainer.should_stop = True
            return
        self.losses.append(loss)
        mean = self.running.update(loss)
        # Ignore early minima: the mean of a few batches may be low by chance.
        early = len(self.losses) <= SKIPPED_AT_START * self.settings.steps
        self.lowest = mean if early else min(self.lowest, mean)
        if mean > EXPLOSION * self.lowest:
            self.ended = f"the loss rose to {EXPLOSION:g} times its lowest at {self.lrs[-1]:.1e}"
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.close()
