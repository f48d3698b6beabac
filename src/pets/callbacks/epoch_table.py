"""After each epoch one line, aligned under a header for each stage."""

from __future__ import annotations

import logging
import time

from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from pets.metrics import METRICS

log = logging.getLogger(__name__)


class EpochTable(Callback):
    """fastai's table: `epoch  train_loss  valid_loss  error_rate  time` (minutes:seconds).

    Between the losses and the time stand all registered metrics with `in_epoch_table`.
    """

    def __init__(self) -> None:
        self.started = 0.0
        shown = [metric.column for metric in METRICS.values() if metric.in_epoch_table]
        self.columns = ["train_loss", *shown]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        say("  ".join(f"{name:>10}" for name in ("epoch", *self.columns, "time")))
        # An epoch that was stopped in its middle goes on without the next hook.
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        minutes, seconds = divmod(round(time.perf_counter() - self.started), 60)
        cells = [str(trainer.current_epoch + 1)]
        cells += [f"{float(trainer.callback_metrics[name]):.6f}" for name in self.columns]
        cells.append(f"{minutes:02}:{seconds:02}")
        widths = [10, *(max(len(name), 10) for name in self.columns), 10]
        say("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))


def say(line: str) -> None:
    """A line into the log and above a progress bar, if one is on screen."""
    bars = bool(getattr(tqdm, "_instances", ()))
    if not bars:
        log.info(line)
        return
    with logging_redirect_tqdm():
        log.info(line)
