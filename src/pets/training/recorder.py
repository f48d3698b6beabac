"""The records of a run: metrics, status, checkpoints, and scalars for the loggers.

Lightning's ModelCheckpoint, CSVLogger and LearningRateMonitor start over with every fit; here one
metrics table and one best checkpoint span all stages of a run, including resumed runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from torch.optim import Optimizer

from pets.config import Monitor
from pets.distributed.process_group import on_rank_0, reduce
from pets.errors import RunError
from pets.io.atomic import copy_atomically
from pets.run_dir import RunDir
from pets.training.checkpoint_io import HeldCheckpoint
from pets.training.metrics_csv import read_metrics, write_metrics
from pets.training.rates import momentum_of
from pets.training.speed import Speed
from pets.training.trainer import batch_loss

_SECONDS_BETWEEN = 2.0  # checkpoints on activations
_LOSSES_AT_ONCE = 50  # losses are logged in groups of this size


class Recorder(Checkpoint):
    """Records a whole run; one instance is passed to the trainer of every stage.

    Writes after each epoch, in this order, so that a run killed at any point resumes to the same
    files: the row, the best checkpoint if the epoch is the best by `monitor`, the last checkpoint,
    the status.
    """

    def __init__(self, run: RunDir, monitor: Monitor | None = None) -> None:
        super().__init__()
        self.run, self.monitor = run, monitor or Monitor()
        run.update_status(monitor=self.monitor.model_dump())
        self.rows = read_metrics(run.path / "metrics.csv")
        self.losses: list[tuple[int, Tensor]] = []  # by step, not logged yet
        self.speed, self.speed_before = Speed(), Speed()  # of the stage; before the epoch
        self.started, self.seconds_before = 0.0, 0.0  # of the epoch; before it was interrupted
        self.held: HeldCheckpoint | None = None  # best checkpoint not written yet
        self.written, self.saved = 0.0, True  # time of the last one; whether it is up to date

    def keep_only(self, stages: Sequence[str], stage: str = "", epochs: int = 0) -> None:
        """Keep the epochs of the finished `stages` and the first `epochs` of a further `stage`."""
        kept = [row for row in self.rows if row["stage"] == stage][:epochs]
        self.rows = [*(row for row in self.rows if row["stage"] in stages), *kept]
        self._write_rows()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": time.perf_counter() - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds_before = state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.speed, self.written, self.saved = Speed(), time.perf_counter(), True
        # An epoch resumed in the middle has no `on_train_epoch_start`.
        self._start_epoch(self.seconds_before)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_epoch()

    def on_train_batch_start(self, *_: Any) -> None:
        self.speed.got_batch()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        scalars: dict[str, float] = {}
        for group in optimizer.param_groups:
            scalars[f"lr/{group['name']}"] = group["lr"]
            if (momentum := momentum_of(group)) is not None:
                scalars[f"momentum/{group['name']}"] = momentum
        _log(trainer, scalars, _step(trainer, pl_module))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # global_step has already been incremented, so this batch belongs to step - 1.
        step = max(_step(trainer, pl_module) - 1, 0)
        self.losses.append((step, batch_loss(trainer, outputs)))
        if len(self.losses) >= _LOSSES_AT_ONCE:
            self._log_losses(trainer)
        self.speed.done_batch(len(batch[1]) * trainer.world_size)
        self.saved = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log_losses(trainer)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        stage, epoch = _stage(pl_module), trainer.current_epoch + 1
        measured: Any = pl_module.metrics
        metrics = {"train_loss": logged["train/epoch_loss"]}
        metrics |= {m.column: logged[f"valid/{m.name}"] for m in measured.measured.values()}
        for name in ("train_loss", "valid_loss"):
            if not math.isfinite(metrics[name]):
                raise RunError(
                    f"{name} is {metrics[name]} after epoch {epoch} of stage {stage}: training "
                    f"diverged; a lower plan.stages.{stage}.lr, or another trainer.precision, may "
                    "help"
                )
        step = _step(trainer, pl_module)
        value = metrics[self.monitor.column]
        if math.isnan(value):
            raise RunError(
                f"{self.monitor.key} is nan after epoch {epoch} of stage {stage}, so that no epoch "
                "is the best; expected a number: another monitor, or validation photos of all "
                "classes"
            )
        improved = all(
            self.monitor.better(value, row.get(self.monitor.column, math.nan)) for row in self.rows
        )
        seconds = round(time.perf_counter() - self.started, 3)
        about = {"stage": stage, "epoch": epoch, "step": step}
        self.rows.append({**about, **metrics, "seconds": seconds})
        self._write_rows()
        speed = self.speed - self.speed_before
        scalars = {"speed/images_per_second": speed.images_per_second, "speed/waited": speed.waited}
        _log(trainer, logged | scalars | {"epoch": float(len(self.rows))}, step - 1)
        may_wait = bool(pl_module.on_activations)
        self._save(trainer, improved=improved, may_wait=may_wait)
        self.run.update_status(stage=stage, epoch=epoch, epochs=trainer.max_epochs, metrics=metrics)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.speed.images:
            speed = {
                "images_per_second": round(self.speed.images_per_second, 1),
                "waited": round(self.speed.waited, 3),
            }
            speeds = self.run.status.get("speed", {})
            self.run.update_status(speed={**speeds, _stage(pl_module): speed})

    def write(self, trainer: Trainer) -> None:
        """Write the last checkpoint, after flushing everything from earlier steps."""
        self._log_losses(trainer)
        _flush(trainer)
        if self.held is not None and self.run.writes:
            self.held.write(self.run.checkpoint("best"))
        trainer.save_checkpoint(self.run.checkpoint("last"))
        self.held, self.written, self.saved = None, time.perf_counter(), True

    def _save(self, trainer: Trainer, improved: bool, may_wait: bool) -> None:
        """Save the last checkpoint, and the best.

        On activations, an epoch takes less time than a checkpoint. There a checkpoint is written
        every two seconds and at the end of the stage; in between, the best one is kept in memory. A
        killed run resumes from the last one written, with the same results.
        """
        last, best = self.run.checkpoint("last"), self.run.checkpoint("best")
        steps_done = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
        epochs_done = trainer.current_epoch + 1 == trainer.max_epochs
        ends = epochs_done or steps_done or trainer.should_stop
        soon = time.perf_counter() - self.written < _SECONDS_BETWEEN
        # All ranks take part in a checkpoint, so they must agree on its time.
        if may_wait and not ends and on_rank_0(lambda: soon):
            if improved:
                module: Any = trainer.lightning_module
                self.held = HeldCheckpoint(frozen=module.model.backbone)
                trainer.save_checkpoint(best, storage_options=self.held)
        elif improved:
            _flush(trainer)
            trainer.save_checkpoint(best)
            if self.run.writes:
                copy_atomically(best, last)
            self.held, self.written, self.saved = None, time.perf_counter(), True
        else:
            self.write(trainer)

    def _start_epoch(self, seconds_before: float = 0.0) -> None:
        self.started = time.perf_counter() - seconds_before
        self.speed_before = replace(self.speed)
        self.speed.start()

    def _write_rows(self) -> None:
        if self.run.writes:
            write_metrics(self.run.path / "metrics.csv", self.rows)

    def _log_losses(self, trainer: Trainer) -> None:
        """Log the mean over all ranks. Done for many losses at once, because reading one
        synchronises with the GPU."""
        if self.losses:
            steps, losses = zip(*self.losses, strict=True)
            means = reduce(torch.stack(losses), "mean").tolist()
            for step, loss in zip(steps, means, strict=True):
                _log(trainer, {"train/loss": loss}, step)
            self.losses.clear()


def _stage(pl_module: LightningModule) -> str:
    progress: Any = pl_module.progress
    return str(progress["stage"])


def _step(trainer: Trainer, pl_module: LightningModule) -> int:
    """Optimizer steps of the whole run so far."""
    progress: Any = pl_module.progress
    return int(progress["steps_before"]) + trainer.global_step


def _flush(trainer: Trainer) -> None:
    """Write what is logged, before a checkpoint: a run that is killed continues after it."""
    for logger in trainer.loggers:
        logger.save()


def _log(trainer: Trainer, scalars: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=step)
