"""A table with one line per epoch, and a header per stage."""

from __future__ import annotations

import logging
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger(__name__)


class EpochTable(Callback):
    """fastai's table: `epoch  train_loss  valid_loss  error_rate  time` (minutes:seconds).

    The run's metrics with `in_epoch_table` are shown between the losses and the time.
    """

    def __init__(self) -> None:
        self.started = 0.0
        self.columns: dict[str, str] = {}  # by what is logged

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        measured: Any = pl_module.metrics
        shown = [metric for metric in measured.measured.values() if metric.in_epoch_table]
        self.columns = {"train/epoch_loss": "train_loss"}
        self.columns |= {f"valid/{metric.name}": metric.column for metric in shown}
        names = ("epoch", *self.columns.values(), "time")
        log_above_bars("  ".join(f"{name:>10}" for name in names))
        # An epoch resumed in the middle skips the next hook.
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        minutes, seconds = divmod(round(time.perf_counter() - self.started), 60)
        cells = [str(trainer.current_epoch + 1)]
        cells += [f"{float(trainer.callback_metrics[name]):.6f}" for name in self.columns]
        cells.append(f"{minutes:02}:{seconds:02}")
        widths = [10, *(max(len(name), 10) for name in self.columns.values()), 10]
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        log_above_bars("  ".join(padded))


def log_above_bars(line: str) -> None:
    """Log a line, above the progress bar if there is one."""
    bars = bool(getattr(tqdm, "_instances", ()))
    if not bars:
        log.info(line)
        return
    with logging_redirect_tqdm():
        log.info(line)
