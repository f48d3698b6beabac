"""What every run writes down: metrics, status, checkpoints, and scalars for the loggers."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.optim import Optimizer

from pets.distributed.process_group import on_rank_0, reduce
from pets.errors import RunError
from pets.io.atomic import copy_atomically
from pets.metrics import epoch_columns
from pets.run_dir import RunDir
from pets.training.checkpoints import HeldCheckpoint
from pets.training.metrics_csv import read_metrics, write_metrics
from pets.training.rates import momentum_of
from pets.training.speed import Speed
from pets.training.trainer import batch_loss

_SECONDS_BETWEEN = 2.0  # checkpoints on activations
_LOSSES_AT_ONCE = 50  # a curve in TensorBoard grows in steps of so many


class Recorder(Checkpoint):
    """One for a whole run, given to the trainer of every stage.

    After each epoch, in this order, so that a run killed at any point resumes to the same files:
    the row, the best checkpoint where the error fell, the last checkpoint, the status.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self.run = run
        self.rows = read_metrics(run.path / "metrics.csv")
        self.started = 0.0
        self.speed, self.before = Speed(), Speed()
        self.losses: list[tuple[int, Tensor]] = []
        self.held: HeldCheckpoint | None = None
        self.written, self.saved = 0.0, True
        self.seconds_before = 0.0

    def keep_only(self, epochs_done: int) -> None:
        """Forget the epochs after the one that a run resumes from."""
        self.rows = self.rows[:epochs_done]
        self._write_rows()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": time.perf_counter() - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds_before = state_dict["seconds"]

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        scalars: dict[str, float] = {}
        for group in optimizer.param_groups:
            scalars[f"lr/{group['name']}"] = group["lr"]
            momentum = momentum_of(group)
            if momentum is not None:
                scalars[f"momentum/{group['name']}"] = momentum
        self._log(trainer, scalars, self._step(trainer, pl_module))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.speed.got_batch()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # The optimizer has stepped since: its step is the one before the trainer's counter.
        step = max(self._step(trainer, pl_module) - 1, 0)
        self.losses.append((step, batch_loss(trainer, outputs)))
        if len(self.losses) >= _LOSSES_AT_ONCE:
            self._log_losses(trainer)
        self.speed.done_batch(len(batch[1]) * trainer.world_size)
        self.saved = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.speed, self.written, self.saved = Speed(), time.perf_counter(), True
        # Only an epoch that was stopped in its middle begins without `on_train_epoch_start`.
        self._start_watches(self.seconds_before)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_watches()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log_losses(trainer)
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        step = self._step(trainer, pl_module)
        progress: dict[str, Any] = pl_module.progress  # type: ignore[assignment]
        for name in ("train_loss", "valid_loss"):
            if not math.isfinite(found[name]):
                raise RunError(
                    f"{name} is {found[name]} after epoch {trainer.current_epoch + 1} of stage "
                    f"{progress['stage']}: training diverged; a lower "
                    f"plan.stages.{progress['stage']}.lr, or another trainer.precision, may help"
                )
        row = {
            "stage": progress["stage"],
            "epoch": trainer.current_epoch + 1,
            "step": step,
            **{name: found[name] for name in epoch_columns() if name in found},
            "seconds": round(time.perf_counter() - self.started, 3),
        }
        best = min((r["error_rate"] for r in self.rows), default=float("inf"))
        self.rows.append(row)
        self._write_rows()
        scalars = {f"valid/{name.removeprefix('valid_')}": value for name, value in found.items()}
        scalars["train/epoch_loss"] = scalars.pop("valid/train_loss")
        epoch = self.speed - self.before
        scalars["speed/images_per_second"] = epoch.images_per_second
        scalars["speed/waited"] = epoch.waited
        self._log(trainer, scalars | {"epoch": float(len(self.rows))}, step - 1)
        waits = bool(pl_module.on_activations)
        self._save(trainer, improved=row["error_rate"] < best, may_wait=waits)
        self.run.update_status(
            stage=progress["stage"],
            epoch=trainer.current_epoch + 1,
            epochs=trainer.max_epochs,
            metrics={name: row[name] for name in epoch_columns() if name in row},
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        progress: dict[str, Any] = pl_module.progress  # type: ignore[assignment]
        if self.speed.images:
            speed = {
                "images_per_second": round(self.speed.images_per_second, 1),
                "waited": round(self.speed.waited, 3),
            }
            speeds = self.run.status.get("speed", {})
            self.run.update_status(speed={**speeds, progress["stage"]: speed})

    def write(self, trainer: Trainer) -> None:
        """The last checkpoint, after everything that belongs to the steps before it."""
        self._log_losses(trainer)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.flush()
        if self.held is not None and self.run.writes:
            self.held.write(self.run.checkpoint("best"))
        trainer.save_checkpoint(self.run.checkpoint("last"))
        self._is_written()

    def _is_written(self) -> None:
        self.held, self.written, self.saved = None, time.perf_counter(), True

    def _start_watches(self, seconds_before: float = 0.0) -> None:
        self.started = time.perf_counter() - seconds_before
        self.before = replace(self.speed)
        self.speed.start()

    def _write_rows(self) -> None:
        if self.run.writes:
            write_metrics(self.run.path / "metrics.csv", self.rows)

    def _log_losses(self, trainer: Trainer) -> None:
        """The mean over all ranks. Many at once: to ask a GPU for one waits until it has computed
        it."""
        if not self.losses:
            return
        steps, losses = zip(*self.losses, strict=True)
        means = reduce(torch.stack(losses), "mean").tolist()
        for step, loss in zip(steps, means, strict=True):
            self._log(trainer, {"train/loss": loss}, step)
        self.losses.clear()

    def _save(self, trainer: Trainer, improved: bool, may_wait: bool) -> None:
        """The last checkpoint, and the best.

        On activations an epoch takes less time than a checkpoint. There one is written every two
        seconds and at the stage's end; in between the best one is held in memory. A run that is
        killed goes on from the last one written, to the same results.
        """
        last, best = self.run.checkpoint("last"), self.run.checkpoint("best")
        steps_done = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
        epochs_done = trainer.current_epoch + 1 == trainer.max_epochs
        ends = epochs_done or steps_done or trainer.should_stop
        soon = time.perf_counter() - self.written < _SECONDS_BETWEEN
        # All ranks take part in a checkpoint, so they must agree on when.
        if may_wait and not ends and on_rank_0(lambda: soon):
            if improved:
                self.held = HeldCheckpoint()
                trainer.save_checkpoint(best, storage_options=self.held)
            return
        if improved:
            trainer.save_checkpoint(best)
            if self.run.writes:
                copy_atomically(best, last)
            self._is_written()
        else:
            self.write(trainer)

    @staticmethod
    def _step(trainer: Trainer, pl_module: LightningModule) -> int:
        """Optimizer steps of the whole run so far."""
        progress: dict[str, Any] = pl_module.progress  # type: ignore[assignment]
        return int(progress["steps_before"]) + trainer.global_step

    @staticmethod
    def _log(trainer: Trainer, scalars: dict[str, float], step: int) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step=step)
