"""Signals stay the process's own while Lightning runs."""

from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer

from pets.system import signals


class OwnSignals(Callback):
    """Installs the process's own signal handlers again, in the place of Lightning's.

    Lightning's would end an accumulation of gradients half-way, and talk to the other ranks at any
    moment.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.take_signals()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.take_signals()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.take_signals()
