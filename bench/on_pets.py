"""pets' side: a Lightning callback that `pets train` is given on its command line."""

from __future__ import annotations

from typing import Any

from laps import Laps
from pytorch_lightning import Callback, LightningModule, Trainer


class EpochTimer(Callback):
    """Times every epoch from its start to the end of its last training batch.

    Validation and checkpoints come after that and are not in it. One line of JSON at the end.
    """

    def __init__(self) -> None:
        self.laps = Laps()
        self.images = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.images = 0
        self.laps.start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.images += len(batch[0])
        if trainer.is_last_batch:
            self.laps.stop()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        print(self.laps.as_json(self.images, "pets", "pytorch-lightning"), flush=True)
