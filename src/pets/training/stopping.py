"""Stop training on a signal: a checkpoint after the next optimizer step, then `Stopped`."""

from __future__ import annotations

import logging
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from pets.distributed.process_group import reduce
from pets.system import signals
from pets.training.recorder import Recorder

log = logging.getLogger(__name__)


class StopOnSignal(Checkpoint):
    """Stops a stage after a signal, with a checkpoint of the last optimizer step.

    After an epoch's last step, validation is finished first, since Lightning does not run it on
    resume. All ranks stop together, whichever of them received the signal.

    It must follow the recorder in the trainer's callbacks, which writes the checkpoint.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder, self.steps = recorder, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps = trainer.global_step
        signals.defer()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # Partially accumulated gradients are not part of a checkpoint.
        stepped, self.steps = trainer.global_step > self.steps, trainer.global_step
        if stepped and not trainer.is_last_batch:
            self._stop_if_asked(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_if_asked(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.end_deferral()
        self._stop_if_asked(trainer, pl_module)

    def on_exception(self, *_: Any) -> None:
        signals.end_deferral()

    def _stop_if_asked(self, trainer: Trainer, pl_module: LightningModule) -> None:
        number = int(reduce(torch.tensor(int(signals.received() or 0)), "max"))
        if not number:
            return
        if not self.recorder.saved:
            progress: Any = pl_module.progress
            self.recorder.write(trainer)
            self.recorder.run.update_status(
                stage=progress["stage"], epoch=progress["epochs"], epochs=trainer.max_epochs
            )
            log.info("  a checkpoint after %s steps of stage %s", self.steps, progress["stage"])
        signals.stop(number)
