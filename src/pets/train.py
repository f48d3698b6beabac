"""The training job from start to finish: backbone, photos, stages, test, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytorch_lightning.loggers import Logger
from torch import Tensor

from pets.cache import memo
from pets.config import TrainConfig
from pets.data.photos import Photos
from pets.data.splits import TEST, VALID
from pets.distributed.process_group import on_rank_0
from pets.errors import PetsError
from pets.lr_finder.search import LrSearch, find_rate, record_curve
from pets.models.classifier import Classifier
from pets.run_dir import OUT_OF_FOLD, RunDir
from pets.system.cpu import keep_freed_memory
from pets.training.checkpoints import Trained
from pets.training.checks import check_classes, check_plan, check_signatures
from pets.training.console import log_early, log_results, log_speed, log_stage, log_start
from pets.training.evaluation import log_probabilities, measure
from pets.training.hparams import hyperparameters, log_hparams
from pets.training.inputs import prepare_stage
from pets.training.library_logs import silence_lightning
from pets.training.loggers import mark_running, open_loggers
from pets.training.looks import count_look
from pets.training.measures import build_callbacks, measured, monitor_of
from pets.training.module import build_stage, new_model
from pets.training.recorder import Recorder
from pets.training.stage import Stage
from pets.training.start import (
    load_backbone,
    load_photos,
    record_weights,
    resume_point,
    steps_done,
    with_weights,
)
from pets.training.stopping import StopOnSignal
from pets.training.trainer import build_profiler, build_trainer, measuring
from pets.training.warm_start import take_over_head

log = logging.getLogger(__name__)


def train(config: TrainConfig, run: RunDir) -> dict[str, Any]:
    """Train the configured model in `run`, resuming from its last checkpoint if there is one.

    Every rank calls this with the same config. Returns the metrics by split.

    Raises:
        PetsError: Something that the user can fix.
    """
    started = time.perf_counter()
    silence_lightning()
    keep_freed_memory()
    memo.use_folder(config.cache_dir)
    check_signatures(config)

    # Load the weights first: if they are unavailable, fail before reading any data.
    backbone, preprocess, source = load_backbone(config, run)
    config = with_weights(config, backbone)
    check_plan(config, backbone, preprocess)
    fresh = not run.checkpoint().exists()
    # Open the loggers early: if a host cannot be reached, fail before reading any data.
    with open_loggers(config.logger, run.path, steps_done(run)) as loggers:
        photos = load_photos(config, run)
        check_classes(config, photos)

        model = new_model(config, backbone, preprocess, photos.classes)
        if config.compile:
            # In place, so that the names of the weights do not change.
            model.backbone.compile()
        log_start(config, source)

        recorder = Recorder(run, monitor_of(config))
        start = resume_point(config, model, recorder)
        if fresh:
            record_weights(config, run)
            take_over_head(config, model, photos)
        log_hparams(loggers, hyperparameters(config, model, run.overrides))
        steps = start.steps_before
        for name in start.stages:
            stage = prepare_stage(config, name, model, photos, run, steps)
            if name == start.stages[0]:
                stage = replace(stage, epochs_done=start.epochs, batches_done=start.batches)
            if not stage.resumed:
                search = LrSearch(stage, model, photos, config, run.path, loggers)
                if config.lr_curves:
                    record_curve(search)
                stage = find_rate(search, run)
                config = config.with_stage(name, stage.config)
            if name != start.stages[0] or not start.ended:
                steps += fit(stage, config, model, photos, recorder, loggers)

        module, data = build_stage(stage, config, model, photos)
        results = {
            split: measure(module, data, split, build_trainer(measuring(config.trainer, split)))
            for split in (VALID, TEST)
            if photos.of(split)
        }
        if config.data.split == "kfold":
            unlimited = build_trainer({**config.trainer, "limit_test_batches": None})
            logs = log_probabilities(module, data, VALID, unlimited)
            on_rank_0(lambda: save_out_of_fold(run, photos, logs))
        log_hparams(loggers, hyperparameters(config, model, run.overrides), results, steps)
        run.finish(results)
        tested = photos.of(TEST)
        looks = count_look(run, photos.contents(tested), "train") if tested else None
        if config.report:
            on_rank_0(lambda: report(Trained(run, config, model, stage.name), photos, loggers))
    log_results(run, measured(config), results, time.perf_counter() - started, looks)
    return results


def fit(
    stage: Stage,
    config: TrainConfig,
    model: Classifier,
    photos: Photos,
    recorder: Recorder,
    loggers: list[Logger],
) -> int:
    """Train the model for one stage, resuming from the last checkpoint if it has begun.

    Returns the stage's total number of optimizer steps.
    """
    run = recorder.run
    module, data = build_stage(stage, config, model, photos)
    callbacks = [*build_callbacks(config), recorder, StopOnSignal(recorder)]
    profiler = build_profiler(config.trainer, run.path, stage.name)
    trainer = build_trainer(config.trainer, stage.config.epochs, callbacks, loggers, profiler)
    log_stage(stage.name, stage.config)
    mark_running(loggers)
    started = time.perf_counter()
    trainer.fit(module, data, ckpt_path=run.checkpoint() if stage.resumed else None)
    run.add_seconds(stage.name, time.perf_counter() - started)
    log_speed(recorder.speed, config, stage.on_activations)
    log_early(trainer.current_epoch, stage.config.epochs)
    return trainer.global_step


def save_out_of_fold(run: RunDir, photos: Photos, logs: Tensor) -> None:
    """Write the validation photos' log-probabilities (N, classes).

    `pets summarize` pools them over the folds.
    """
    # Only these runs need it, and it imports pandas.
    from pets.interpretation.interpretation import Interpretation

    found = Interpretation.of_photos(photos.of(VALID), logs.double().numpy(), photos.classes)
    found.save(run.path / OUT_OF_FOLD, run=run.path.resolve().name)


def report(trained: Trained, photos: Photos, loggers: Sequence[Logger]) -> None:
    """Write `report.html` on the test photos, or on the validation photos if there are none.

    A failure is logged, not raised: the trained run is complete without it.
    """
    # The libraries of its charts and analyses take seconds to import.
    from pets.report.write import write_report

    hint = f"training is complete; try pets interpret {trained.run.as_typed()}"
    try:
        write_report(trained, photos, trained.config.interpret, loggers=loggers)
    except PetsError as error:
        log.warning("no report: %s; %s", error, hint)
    except Exception:
        log.exception("no report; %s", hint)
