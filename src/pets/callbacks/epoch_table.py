"""After each epoch one line, aligned under a header for each stage."""

from __future__ import annotations

import logging
import time

from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger(__name__)
COLUMNS = ("epoch", "train_loss", "valid_loss", "error_rate", "time")


class EpochTable(Callback):
    """fastai's table: `epoch  train_loss  valid_loss  error_rate  time` (minutes:seconds)."""

    def __init__(self) -> None:
        self.started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        say("  ".join(f"{name:>10}" for name in COLUMNS))
        # An epoch that was stopped in its middle goes on without the next hook.
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = trainer.callback_metrics
        minutes, seconds = divmod(round(time.perf_counter() - self.started), 60)
        cells = [str(trainer.current_epoch + 1)]
        cells += [f"{float(found[name]):.6f}" for name in COLUMNS[1:4]]
        cells.append(f"{minutes:02}:{seconds:02}")
        say("  ".join(f"{cell:>10}" for cell in cells))


def say(line: str) -> None:
    """A line into the log and above a progress bar, if one is on screen."""
    bars = bool(getattr(tqdm, "_instances", ()))
    if not bars:
        log.info(line)
        return
    with logging_redirect_tqdm():
        log.info(line)
