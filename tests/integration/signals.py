"""Real signals at a chosen place of a training, for test_stopping.py."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms import v2


class SignalAt(Callback):
    """Sends this process a signal inside a hook, at an optimizer step of the whole run; and another
    one while the checkpoint is being made. Keeps a list of what has been trained."""

    trained: ClassVar[list[tuple[str, int, int, float]]] = []

    def __init__(
        self, hook: str, step: int, number: int, after: float = 0.0, again: float = 0.0
    ) -> None:
        self.hook, self.step, self.number = hook, step, number
        self.delays = [seconds for seconds in (after, again) if seconds]
        self.sent = False

    def _at(self, hook: str, pl_module: LightningModule) -> None:
        progress: Any = pl_module.progress
        step = progress["steps_before"] + pl_module.trainer.global_step
        if hook == self.hook and step == self.step:
            self.sent = True
            for seconds in self.delays:
                threading.Timer(seconds, os.kill, (os.getpid(), self.number)).start()
            if not self.delays:
                os.kill(os.getpid(), self.number)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._at("train_start", pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._at("batch_start", pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        progress: Any = pl_module.progress
        seen = (progress["stage"], trainer.current_epoch, batch_idx, float(batch[0].double().sum()))
        self.trained.append(seen)
        self._at("batch_end", pl_module)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 1:
            self._at("validation", pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.sent:
            os.kill(os.getpid(), signal.SIGINT)


class Stuck(v2.Transform):  # type: ignore[misc]
    """Changes nothing; where the folder has a file `stick`, the second loader's process takes it
    away and sleeps."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.file = Path(folder) / "stick"

    def forward(self, photo: Tensor) -> Tensor:
        info = get_worker_info()
        if info is not None and info.id == 1 and self.file.exists():
            self.file.unlink()
            time.sleep(60)
        return photo
