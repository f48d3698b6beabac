"""The LightningModule: a classifier with the loss and the metrics of one stage."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torchmetrics import MeanMetric

from pets.config import LearnerConfig
from pets.data.photos import Photos
from pets.data.splits import TRAIN
from pets.data.transforms import Preprocess, batch_transforms
from pets.distributed.lightning import share_statistics
from pets.distributed.process_group import reduce
from pets.distributed.ranks import ranks
from pets.errors import ConfigError, DataError, RunError
from pets.metrics import SplitMetrics
from pets.models.backbone import Backbone
from pets.models.classifier import Classifier, new_classifier
from pets.models.freezing import freeze_to, train_mode
from pets.seeding import derive_for_rank
from pets.training.datamodule import PetsDataModule
from pets.training.losses import new_loss
from pets.training.measures import measured
from pets.training.rates import build_optimizer, param_groups, schedule, spread
from pets.training.stage import Stage

Batch = tuple[Tensor, Tensor]
_NO_NORM = (
    "expected data.batch_size and training photos of at least 2 a process, or model/head=linear"
)


class ClassifierModule(LightningModule):
    """Trains a `Classifier` for one stage, or evaluates it if there is no stage.

    A new one is created for every stage around the same network, whose layers it freezes before
    Lightning wraps it. The optimizer has only the trainable parameters. `class_counts` are the
    numbers of training photos per class, for losses with class weights.
    """

    def __init__(
        self,
        model: Classifier,
        config: LearnerConfig,
        stage: Stage | None = None,
        class_counts: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model, self.optimizer, self.stage = model, config.optimizer, stage
        self.batch_transforms = batch_transforms(config.augment, len(model.classes))
        # Checking for NaN after every step would synchronise with the GPU; the recorder checks
        # once per epoch.
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.metrics = SplitMetrics(model.classes, measured(config))
        self.measured: dict[str, Any] = {}
        self.temperature: float | None = None  # fitted on the validation photos
        self.loss_before: Tensor | None = None  # of an epoch that was interrupted
        # Progress of the run, for checkpoints, files and loggers.
        self.progress: dict[str, Any] = {}
        if stage is not None:
            self.progress = {
                "stage": stage.name, "epochs": 0, "batches": 0, "steps_before": stage.steps_before,
            }  # fmt: skip
            self.loss = new_loss(config.loss, class_counts, model.classes)
            model.size = stage.inputs.size
            freeze_to(model, stage.config.freeze_to)

    @property
    def on_activations(self) -> bool:
        """Whether batches contain activations of the backbone instead of photos."""
        return self.stage is not None and self.stage.on_activations

    def configure_optimizers(self) -> Any:
        assert self.stage is not None
        stage = self.stage.config
        assert not stage.auto, "the lr finder sets the rate before the fit"
        rates = spread(stage.rates, len(self.model.layer_groups))
        optimizer = build_optimizer(self.optimizer, param_groups(self.model, rates), rates[-1])
        plan = schedule(optimizer, stage, int(self.trainer.estimated_stepping_batches))
        if plan is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plan, "interval": "step"}}

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model.from_activations(inputs) if self.on_activations else self.model(inputs)

    def on_train_start(self) -> None:
        # An epoch resumed in the middle has no `on_train_epoch_start`.
        self._train_mode()
        if self.loss_before is None:
            return
        world = self.trainer.world_size
        if len(self.loss_before) != world:
            raise RunError(
                f"the run was stopped in the middle of an epoch on {len(self.loss_before)} "
                f"devices, and their photos cannot be distributed over {world}; resume with "
                "as many as before"
            )
        total, count = self.loss_before[self.global_rank].tolist()
        self.loss_before = None
        self.train_loss.reset()
        # Bit-exact: add the sum as a single loss, then correct the number of losses.
        self.train_loss.update(torch.tensor(total, device=self.device))
        self.train_loss.weight += count - 1

    def on_train_epoch_start(self) -> None:
        self._train_mode()
        self.train_loss.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout and mixed batches depend only on the step, not on earlier draws, so that a run can
        # resume in the middle of an epoch, on any device, without saved RNG states.
        assert self.stage is not None
        seed = derive_for_rank(self.stage.noise_seed, "noise", self.current_epoch, batch_idx)
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.progress |= {"epochs": self.current_epoch, "batches": batch_idx + 1}
        inputs, targets = batch
        for transform in () if self.on_activations else self.batch_transforms:
            inputs, targets = transform(inputs, targets)
        try:
            logits = self(inputs)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise DataError(
                f"a training batch of {len(inputs)} photo: batch norms need two; {_NO_NORM}"
            ) from error
        loss = self.loss(logits, targets).mean()
        self.train_loss.update(loss.detach())
        return loss

    def on_after_backward(self) -> None:
        if self.trainer.world_size > 1:
            share_statistics(self.model)

    def on_validation_epoch_start(self) -> None:
        self.metrics.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        inputs, targets = batch
        self.metrics.update(self(inputs), targets)

    def on_validation_epoch_end(self) -> None:
        self.progress |= {"epochs": self.current_epoch + 1, "batches": 0}
        found = self.metrics.compute()
        self.temperature = float(self.metrics.temperature.compute())
        shown = {f"valid/{name}": found[name] for name in self.metrics.measured}
        if self.train_loss.update_called:
            shown = {"train/epoch_loss": float(self.train_loss.compute()), **shown}
        # For callbacks; the recorder forwards it to the loggers, with steps counted over stages.
        self.log_dict(shown, logger=False)

    def on_test_epoch_start(self) -> None:
        self.metrics.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        # Here, because the network is still on the device on which the ranks communicate.
        self.measured = self.metrics.compute()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        about = {**self.model.describe(), **self.progress, "steps": self.global_step}
        checkpoint["pets"] = {"format": 1, **about, "temperature": self.temperature}
        if self.trainer.should_stop:  # by a callback, before the planned number of epochs
            checkpoint["pets"]["stopped_early"] = True
        if self.progress["batches"]:
            # In the middle of an epoch, save the running loss, too.
            rows = torch.zeros(self.trainer.world_size, 2, device=self.device)
            rows[self.global_rank, 0] = self.train_loss.mean_value
            rows[self.global_rank, 1] = self.train_loss.weight
            checkpoint["pets"]["train_loss"] = reduce(rows).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loss_before = checkpoint["pets"].get("train_loss")

    def _train_mode(self) -> None:
        assert self.stage is not None
        train_mode(self.model, self.stage.config.freeze_to)


def build_stage(
    stage: Stage, config: LearnerConfig, model: Classifier, photos: Photos
) -> tuple[ClassifierModule, PetsDataModule]:
    """Build the LightningModule and the data module of a stage."""
    data = PetsDataModule(
        config.data, config.augment, model.preprocess, photos, stage.inputs, stage
    )
    return ClassifierModule(model, config, stage, count_classes(photos)), data


def count_classes(photos: Photos) -> Tensor:
    """Return the number of training photos of each class (C,)."""
    counts = Counter(photo.label for photo in photos.of(TRAIN))
    return torch.tensor([counts[label] for label in photos.classes])


def new_model(
    config: LearnerConfig, backbone: Backbone, preprocess: Preprocess, classes: list[str]
) -> Classifier:
    """Put a new head on the backbone.

    Raises ConfigError for batches of one photo if the head has batch norms.
    """
    size = config.data.height_width
    if config.model.grad_checkpointing:
        backbone.checkpoint_gradients()
    model = new_classifier(backbone, config.model, classes, preprocess, size, config.seed)
    normalised_together = config.data.batch_size * (
        ranks().world if config.trainer.get("sync_batchnorm") else 1
    )
    if normalised_together == 1 and any(
        isinstance(layer, _BatchNorm) for layer in model.head.modules()
    ):
        raise ConfigError(
            f"data.batch_size=1: {type(model.head).__name__} has batch norms, which need two "
            f"photos in a training batch; {_NO_NORM}"
        )
    return model
