"""Where a signal may end a stage, and the checkpoint that is written then."""

from __future__ import annotations

import logging
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, WeightAveraging

from pets.distributed.process_group import reduce
from pets.system.signals import Stopped, When, asked, end_here, end_when
from pets.training.recorder import Recorder

log = logging.getLogger(__name__)

# Lightning's count of validation batches inside the first one: what makes it validate again.
_IN_FIRST_BATCH = {"ready": 1, "started": 1, "processed": 0, "completed": 0}


class Stops(Checkpoint):
    """Keeps signals waiting while there are steps that no checkpoint has, up to a place where
    Lightning can go on: after an optimizer step, while a batch is waited for, in validation, at an
    epoch's end. There the last checkpoint is written before the training ends.

    To be given to the trainer after the recorder, whose checkpoints these are.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.steps = 0
        self.validating = self.validates_again = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps = trainer.global_step
        self._may_end(trainer, When.AT_ONCE)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        end_when(When.HERE)
        self.recorder.saved = False
        stepped = trainer.global_step > self.steps
        self.steps = trainer.global_step
        # Gradients that are being accumulated are in no checkpoint; after an epoch's last batch
        # the next place is in its validation, after the last of `max_steps` at the epoch's end.
        last = trainer.is_last_batch or self.steps == trainer.max_steps
        if stepped and not last:
            self._end_here(trainer)
            self._may_end(trainer, When.IN_WAITS)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validating = True
        self._in_validation(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._in_validation(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        end_when(When.HERE)
        self.validating = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end_here(trainer)
        self._may_end(trainer, When.AT_ONCE if self.recorder.saved else When.HERE)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        end_when(When.AT_ONCE)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if not isinstance(exception, Stopped) or self.recorder.saved:
            return
        self.validates_again = self.validating
        if self.validating:
            # Their hook that puts the weights back which are trained.
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightAveraging):
                    callback.on_validation_epoch_end(trainer, pl_module)
        self.recorder.write(trainer)
        progress: Any = pl_module.progress
        epochs: Any = trainer.fit_loop.epoch_progress.current
        if self.recorder.run.writes:
            self.recorder.run.update_status(
                stage=progress["stage"], epoch=epochs.processed, epochs=trainer.max_epochs
            )
        log.info("  a checkpoint after %s steps of stage %s", self.steps, progress["stage"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.validates_again:
            loops = checkpoint["loops"]["fit_loop"]
            for count in ("total", "current"):
                loops["epoch_loop.val_loop.batch_progress"][count] = dict(_IN_FIRST_BATCH)

    def _in_validation(self, trainer: Trainer) -> None:
        # Ranks may have different numbers of validation batches: they agree after the last one.
        if trainer.is_last_batch and trainer.world_size == 1 and not self.recorder.saved:
            end_here()
            end_when(When.IN_WAITS)

    @staticmethod
    def _may_end(trainer: Trainer, when: When) -> None:
        """Several ranks only end together."""
        end_when(when if trainer.world_size == 1 else When.HERE)

    @staticmethod
    def _end_here(trainer: Trainer) -> None:
        number = int(asked() or 0)
        if trainer.world_size > 1:
            own = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(reduce(own, "max"))
        end_here(number)
