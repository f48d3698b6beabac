"""Build Lightning's objects from the config: trainer and callbacks."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.loggers import Logger
from torch import Tensor

from pets.config import Target
from pets.config.instantiate import build, check_arguments
from pets.distributed.lightning import check_sync_batchnorm, cluster_environment, ddp_kwargs
from pets.distributed.ranks import check_ranks, ranks
from pets.errors import ConfigError
from pets.system import signals
from pets.system.devices import resolve_precision
from pets.training.checkpoints import AtomicCheckpointIO

# The Trainer's arguments that work here as documented by Lightning.
HONOURED = (
    "accelerator", "devices", "num_nodes", "strategy", "precision", "sync_batchnorm",
    "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "deterministic",
    "benchmark", "detect_anomaly", "inference_mode",
)  # fmt: skip
# The arguments that would break a run or have no effect, by what to use instead.
_INSTEAD = {
    "plan.stages.<stage>.epochs says how long a stage is; for a limit of time, since SIGTERM stops "
    "a run so that it can be resumed: timeout 1h pets train ...":
        "max_epochs min_epochs max_steps min_steps max_time",
    "a short run: plan=frozen4 plan.stages.head.epochs=1": "fast_dev_run barebones",
    "every photo of a split is used; a smaller data set: data.exclude, or another data.root":
        "overfit_batches limit_train_batches limit_val_batches limit_test_batches "
        "limit_predict_batches",
    "every epoch ends with one validation, by which best.ckpt is chosen":
        "val_check_interval check_val_every_n_epoch num_sanity_val_steps",
    "the loggers get every step": "log_every_n_steps",
    "a stage keeps its loaders": "reload_dataloaders_every_n_epochs",
    "the order of photos derives from seed": "use_distributed_sampler",
    "callbacks=<name> chooses them, callbacks.<name>._target_=... adds one":
        "callbacks enable_model_summary",
    "logger=<name> chooses them, logger.<name>._target_=... adds one": "logger",
    "it is one of callbacks: ~callbacks.progress_bar leaves it out": "enable_progress_bar",
    "every run writes last.ckpt and best.ckpt, for resuming and for use": "enable_checkpointing",
    "hyper-parameters are logged with the results": "enable_autolog_hparams",
    "hydra.run.dir=<folder> is the run directory": "default_root_dir",
    "checkpoints and processes are pets' own": "plugins",
    "profile the whole command: python -m cProfile -m pets train ...": "profiler",
    "pets export writes what a registry takes": "model_registry",
}  # fmt: skip
REFUSED = {name: fix for fix, names in _INSTEAD.items() for name in names.split()}


def check_trainer(values: Mapping[str, Any], trains: bool = False) -> None:
    """Check the `trainer` group: arguments of Lightning's Trainer that pets supports. Only training
    (`trains`) may use several devices. Raises ConfigError."""
    check_arguments("trainer", Trainer.__init__, values, given=("self",))
    defaults = inspect.signature(Trainer).parameters
    for name, value in values.items():
        if name not in HONOURED and value != defaults[name].default:
            fix = REFUSED.get(name, "pets knows no such argument of this version of Lightning")
            raise ConfigError(f"trainer.{name}={value}: not supported, remove it; {fix}")
    devices = values.get("devices", 1)
    if not trains and devices != 1 and not (isinstance(devices, list) and len(devices) == 1):
        raise ConfigError(
            f"trainer.devices={devices}: this runs on one device; expected 1, or a list with the "
            "number of one"
        )
    check_ranks(values)
    check_sync_batchnorm(values)
    try:
        build_trainer(values)
    except (
        ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        given = " ".join(f"{k}={v}" for k, v in values.items() if v != defaults[k].default)
        raise ConfigError(
            f"trainer: Lightning's Trainer refuses its arguments ({reason}): {given}; "
            "accelerator=auto and precision=auto suit every machine"
        ) from error


def build_trainer(
    values: Mapping[str, Any],
    max_epochs: int = 1,
    callbacks: Sequence[Callback] = (),
    logger: list[Logger] | None = None,
) -> Trainer:
    """Build a Trainer for one stage, for an evaluation, or for the lr finder."""
    # Deterministic mode would fill new tensors with NaN; nothing here reads uninitialised ones.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    defaults = inspect.signature(Trainer).parameters
    chosen = ddp_kwargs(resolve_precision(values))
    return Trainer(
        # Skip arguments at Lightning's defaults: pets passes some of them itself.
        **{name: value for name, value in chosen.items() if value != defaults[name].default},
        max_epochs=max_epochs,
        callbacks=[OwnSignals(), *callbacks],
        logger=logger or False,
        plugins=[AtomicCheckpointIO(), cluster_environment(values)],
        num_sanity_val_steps=0,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        enable_model_summary=False,
        # pets' own sampler derives the order from seed, stage and epoch.
        use_distributed_sampler=False,
    )


class OwnSignals(Callback):
    """Restores the process's own signal handlers, replacing Lightning's.

    Lightning's would interrupt gradient accumulation, and communicate with other ranks at any time.
    """

    def on_train_start(self, *_: Any) -> None:
        signals.take_signals()

    def on_test_start(self, *_: Any) -> None:
        signals.take_signals()

    def on_predict_start(self, *_: Any) -> None:
        signals.take_signals()


def batch_loss(trainer: Trainer, outputs: Any) -> Tensor:
    """Return the loss of `training_step`, from the `outputs` of `on_train_batch_end`.

    Lightning divides it by the number of accumulated batches.
    """
    return outputs["loss"].detach() * trainer.accumulate_grad_batches


def build_callbacks(nodes: Mapping[str, Target]) -> list[Callback]:
    """Build new callbacks, in the config's order."""
    return [build(f"callbacks.{name}", node) for name, node in nodes.items()]


def silence_lightning() -> None:
    """Silence Lightning's info messages, and its warnings about intentional choices."""
    for name in ("pytorch_lightning", "lightning_fabric", "timm"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not ranks().writer:
        warnings.simplefilter("ignore")  # rank 0 shows the same warnings
    for message in (
        ".*does not have many workers.*",  # on few cores, none is fastest
        ".*checkpoint that ended before the epoch ended.*",  # the sampler knows what was drawn
        ".*number of training batches.*smaller than the logging interval.*",
        ".*exists and is not empty.*",
        ".*GPU available but not used.*",
        ".*Encountered `nan` values.*",  # the recorder stops a diverged run
        ".*module\\(s\\) in eval mode at the start of training.*",  # that is what freezing does
        ".*The `srun` command is available.*",  # `distributed.ranks` detects the launcher
        ".*`broadcast_buffers` is deprecated.*",  # older torch versions lack the new name
        ".*recommended to use `self.log.*sync_dist=True.*",  # all ranks log the same number
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # Lightning's own, with new torch
    ):
        warnings.filterwarnings("ignore", message)
