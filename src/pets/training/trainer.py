"""Build Lightning's objects from the config: trainer and callbacks."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, SimpleProfiler
from torch import Tensor

from pets.config.foreign import answers
from pets.config.instantiate import check_types
from pets.data.splits import VALID
from pets.distributed.lightning import check_sync_batchnorm, cluster_environment, ddp_kwargs
from pets.distributed.ranks import check_ranks, ranks
from pets.errors import ConfigError, reason_of
from pets.system import signals
from pets.system.devices import device_type, resolve_precision
from pets.training.checkpoint_io import AtomicCheckpointIO

# The Trainer's arguments that limit a training to some of its photos; null: no limit.
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches")
# Those that only training has: other commands use all photos, and are not profiled.
OF_TRAINING = (*LIMITS, "profiler")
# All arguments that work here as documented by Lightning.
HONOURED = (
    "accelerator", "devices", "num_nodes", "strategy", "precision", "sync_batchnorm",
    "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "deterministic",
    "benchmark", "detect_anomaly", "inference_mode", *OF_TRAINING,
)  # fmt: skip
_PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
# The arguments that would break a run or have no effect, by what to use instead.
_INSTEAD = {
    "plan.stages.<stage>.epochs says how long a stage is; for a limit of time, since SIGTERM stops "
    "a run so that it can be resumed: timeout 1h pets train ...":
        "max_epochs min_epochs max_steps min_steps max_time",
    "a short run: debug=fast": "fast_dev_run barebones",
    "every photo is predicted": "limit_predict_batches",
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
    "pets export writes what a registry takes": "model_registry",
}  # fmt: skip
REFUSED = {name: fix for fix, names in _INSTEAD.items() for name in names.split()}


def check_trainer(values: Mapping[str, Any], trains: bool = False) -> None:
    """Check the `trainer` group. Raises ConfigError.

    It has the arguments of Lightning's Trainer that pets supports. Only training (`trains`) may use
    several devices.
    """
    defaults = inspect.signature(Trainer).parameters
    for name, value in values.items():
        if name not in HONOURED and (name not in defaults or value != defaults[name].default):
            close = difflib.get_close_matches(name, HONOURED, n=1)
            known = f"did you mean {close[0]}?" if close else f"expected {', '.join(HONOURED)}"
            others = [f"in pets: {answer}" for answer in answers(f"trainer.{name}")]
            fix = REFUSED.get(name, [*others, known][0])
            raise ConfigError(f"trainer.{name}={value}: not supported, remove it; {fix}")
    # Those of training have stricter checks below.
    check_types("trainer", Trainer, {k: v for k, v in values.items() if k not in OF_TRAINING})
    if (batches := values.get("accumulate_grad_batches", 1)) < 1:
        raise ConfigError(
            f"trainer.accumulate_grad_batches={batches}: expected a whole number of at least 1"
        )
    if (clip := values.get("gradient_clip_val")) is not None and clip <= 0:
        raise ConfigError(f"trainer.gradient_clip_val={clip}: expected a number above 0, or null")
    for name in OF_TRAINING:
        value = values.get(name)
        if value is None or value == defaults[name].default:
            continue
        if not trains:
            raise ConfigError(
                f"trainer.{name}={value}: is for pets train; here all photos are used; remove it"
            )
        fits = value >= 1 if type(value) is int else type(value) is float and 0 < value <= 1
        if name in LIMITS and not fits:
            raise ConfigError(
                f"trainer.{name}={value}: expected a number of batches of at least 1, or a "
                "fraction of them: above 0, at most 1.0"
            )
        if name == "profiler" and value not in _PROFILERS:
            raise ConfigError(f"trainer.profiler={value}: expected simple, advanced or null")
    if values.get("overfit_batches") and (limited := limits(values)[:-1]):
        raise ConfigError(
            f"{limited[0]}: has no effect with trainer.overfit_batches="
            f"{values['overfit_batches']}, which leaves no other photos; leave one of the two out "
            "(debug=fast, debug=overfit)"
        )
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
        here, wanted = device_type("auto"), values.get("accelerator", "auto")
        preset = here.replace("cuda", "gpu")
        if wanted not in ("auto", "cpu", here, preset):
            raise ConfigError(
                f"trainer.accelerator={wanted}: cannot be used here ({reason_of(error)}); "
                f"expected auto, or trainer={preset}"
            ) from error
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
    profiler: Profiler | None = None,
) -> Trainer:
    """Build a Trainer for one stage, for an evaluation, or for the lr finder."""
    # Deterministic mode would fill new tensors with NaN; nothing here reads uninitialised ones.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    defaults = inspect.signature(Trainer).parameters
    chosen = ddp_kwargs(resolve_precision(values))
    return Trainer(
        # Skip arguments at Lightning's defaults: pets passes some of them itself.
        **{
            name: value
            for name, value in chosen.items()
            # The photos of an overfit run are chosen when they are collected.
            if value != defaults[name].default and name not in ("overfit_batches", "profiler")
        },
        profiler=profiler,
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


def limits(values: Mapping[str, Any]) -> list[str]:
    """Return the arguments that limit a run to a part of its photos, as they are typed."""
    return [f"trainer.{name}={values[name]}" for name in LIMITS if values.get(name)]


def measuring(values: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return the arguments for measuring a split: each has a limit of its own."""
    limit = values.get("limit_val_batches" if split == VALID else "limit_test_batches")
    return {**values, "limit_test_batches": limit}


def build_profiler(values: Mapping[str, Any], folder: Path, stage: str) -> Profiler | None:
    """Build the profiler of a stage, which writes `profile/fit-<stage>.txt`, or None."""
    if not values.get("profiler") or not ranks().writer:
        return None
    (folder / "profile").mkdir(exist_ok=True)
    return _PROFILERS[values["profiler"]](dirpath=folder / "profile", filename=stage)


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
