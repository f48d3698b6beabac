"""The main job, told straight: weights, photos, stages, results."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Trainer

from pets.cache import memo
from pets.callbacks.interpret import Interpret
from pets.callbacks.lr_finder import LRFinder
from pets.config import LearnerConfig, StageConfig, TrainConfig
from pets.config.instantiate import build, check_signature
from pets.data.datamodule import PetsDataModule
from pets.data.splits import TEST, VALID
from pets.data.transforms import Preprocess, check_augment
from pets.distributed.ranks import ranks
from pets.errors import ConfigError
from pets.features.backends import check_engine
from pets.features.inputs import check_feed, epochs_on_photos, feed, on_activations
from pets.lr_finder.auto import settle_rate
from pets.lr_finder.search import LrSearch
from pets.models.backbone import Backbone
from pets.models.classifier import HEAD
from pets.run_dir import RunDir
from pets.seeding import derive
from pets.system.cpu import keep_freed_memory
from pets.system.devices import check_compiler, device_type, settled
from pets.training.console import say_speed, say_stage, say_what_was_reached
from pets.training.evaluation import Trained, measure
from pets.training.freezing import frozen_groups
from pets.training.module import TransferModule, new_module
from pets.training.recorder import Recorder
from pets.training.start import StartPoint, backbone_of, photos_of, resume_point
from pets.training.stopping import StopOnSignal
from pets.training.trainer import (
    build_callbacks,
    build_loggers,
    check_trainer,
    log_hparams,
    quiet,
    trainer,
)

log = logging.getLogger(__name__)


def train(config: TrainConfig, run: RunDir) -> dict[str, Any]:
    """Train what the config says into the run directory; go on where the run was stopped. Of
    several ranks each comes here, with the same config.

    Returns the results: metrics by split. Raises PetsError.
    """
    began = time.perf_counter()
    quiet()
    keep_freed_memory()
    memo.use_folder(config.cache_dir)
    check_signatures(config)

    # Weights come first: where they cannot be had, that is said before any data is read.
    backbone, preprocess, source = backbone_of(config, run)
    for stage in config.plan.stages.values():
        frozen_groups([*(name for name, _ in backbone.groups), HEAD], stage.freeze_to)
    stages = {f"plan.stages.{name}": stage for name, stage in config.plan.stages.items()}
    check_network(config, backbone, preprocess, stages)
    build_callbacks(config.callbacks)
    # A new run's: a logger without its package or its host ends the run here.
    fresh = not run.checkpoint().exists()
    loggers = build_loggers(config.logger, run.path, steps_done=0) if fresh else []
    photos = photos_of(config, run)

    data = PetsDataModule(config.data, config.augment, preprocess, photos, config.seed)
    module = new_module(config, backbone, preprocess, photos.classes)
    if config.compile:
        # In place: the names of the weights stay those of the network.
        module.model.backbone.compile()
    settings = settled(config.trainer)
    where, precision = device_type(settings.get("accelerator", "auto")), settings.get("precision")
    several = f" in {ranks().world} processes" if ranks().world > 1 else ""
    log.info("%s, weights: %s; on %s%s, %s", config.model.name, source, where, several, precision)

    recorder = Recorder(run)
    start = resume_point(config, module, recorder)
    if not fresh:
        done = start.steps_before + start.steps
        loggers = build_loggers(config.logger, run.path, steps_done=done)
    config = run_stages(config, start, module, data, recorder, loggers)

    results = {
        split: measure(module, data, split, trainer(config.trainer))
        for split in (VALID, TEST)
        if photos.of(split)
    }
    log_hparams(loggers, config, results)
    run.finish(results)
    for callback in build_callbacks(config.callbacks):
        if isinstance(callback, Interpret):
            last = list(config.plan.stages)[-1]
            callback.after_training(Trained(run, config, module.model, last), photos, loggers)
    say_what_was_reached(run, results, time.perf_counter() - began)
    return results


def run_stages(
    config: TrainConfig,
    start: StartPoint,
    module: TransferModule,
    data: PetsDataModule,
    recorder: Recorder,
    loggers: list[Any],
) -> TrainConfig:
    """One `fit` a stage, each with its own frozen layers, optimizer and schedule.

    Returns the config with the rates that were found where it says `lr: auto`.
    """
    steps = start.steps_before
    for name in list(config.plan.stages)[start.place :]:
        going_on = start.steps > 0 and steps == start.steps_before
        run, stage = recorder.run, config.plan.stages[name]
        began = time.perf_counter()
        epochs = epochs_on_photos(config, module.model, config.plan.stages, stage)
        feed(config, stage, module.model, data, epochs)
        if data.activations is not None:
            run.add_seconds(f"{name}/precompute", time.perf_counter() - began)
        callbacks = build_callbacks(config.callbacks)
        if not going_on:
            search = LrSearch(name, stage, module, data, config, run.path, loggers, steps)
            for callback in callbacks:
                if isinstance(callback, LRFinder):
                    callback.before_stage(search)
            config = settle_rate(search, config, run)
        stage = config.plan.stages[name]
        seed = derive(config.seed, "stage", name)
        module.begin(name, stage, steps, seed, data.activations is not None)
        data.begin(name, *((start.epochs, start.batches) if going_on else ()))
        fit: Trainer = trainer(
            config.trainer,
            max_epochs=stage.epochs,
            callbacks=[*callbacks, recorder, StopOnSignal(recorder)],
            logger=loggers,
        )
        say_stage(name, stage)
        began = time.perf_counter()
        fit.fit(module, data, ckpt_path=run.checkpoint() if going_on else None)
        run.add_seconds(name, time.perf_counter() - began)
        say_speed(recorder.speed, config, on_activations=data.activations is not None)
        steps += fit.global_step
    return config


def check_network(
    config: LearnerConfig,
    backbone: Backbone,
    preprocess: Preprocess,
    stages: Mapping[str, StageConfig],
) -> None:
    """Head, optimizer and what the stages are fed suit the backbone: built once for two classes,
    before photos are read. Raises ConfigError."""
    module = new_module(config, backbone, preprocess, ["one", "other"])
    build("optimizer", config.optimizer, params=list(module.model.head.parameters()))
    check_feed(config, stages, module.model)
    fed = (on_activations(config, module.model, stage) for stage in stages.values())
    if isinstance(config, TrainConfig) and config.compile and all(fed):
        raise ConfigError(
            "compile=true has no effect with precompute=true, since every stage runs on "
            "activations; precompute.engine=compile compiles the pass"
        )


def check_signatures(config: LearnerConfig) -> None:
    """Every `_target_` exists and takes its arguments, before data is read. Raises ConfigError."""
    check_augment(config.augment)
    check_signature("model.head", config.model.head, ("features", "classes"))
    check_signature("optimizer", config.optimizer, ("params",))
    if config.data.prepare is not None:
        check_signature("data.prepare", config.data.prepare, ("root",))
    for name, node in config.callbacks.items() if isinstance(config, TrainConfig) else ():
        check_signature(f"callbacks.{name}", node)
    for name, node in config.logger.items():
        check_signature(f"logger.{name}", node, ("save_dir",))
    check_trainer(config.trainer, trains=isinstance(config, TrainConfig))
    check_engine(config.precompute.engine, device_type(config.trainer.get("accelerator", "auto")))
    if isinstance(config, TrainConfig) and config.compile:
        check_compiler()
