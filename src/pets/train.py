"""The main job, told straight: backbone, photos, stages, test, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytorch_lightning.loggers import Logger

from pets.cache import memo
from pets.config import TrainConfig
from pets.data.photos import Photos
from pets.data.splits import TEST, VALID
from pets.distributed.process_group import on_rank_0
from pets.distributed.ranks import ranks
from pets.errors import PetsError
from pets.lr_finder.search import LrSearch, find_rate, look
from pets.models.classifier import Classifier
from pets.report.write import write_report
from pets.run_dir import RunDir
from pets.system.cpu import keep_freed_memory
from pets.system.devices import device_type, settled
from pets.training.checks import check_plan, check_signatures
from pets.training.console import log_results, log_speed, log_stage
from pets.training.evaluation import Trained, measure
from pets.training.inputs import prepare_stage
from pets.training.module import learner, new_model
from pets.training.recorder import Recorder
from pets.training.stage import Stage
from pets.training.start import backbone_of, photos_of, resume_point
from pets.training.stopping import StopOnSignal
from pets.training.trainer import build_callbacks, build_loggers, log_hparams, quiet, trainer

log = logging.getLogger(__name__)


def train(config: TrainConfig, run: RunDir) -> dict[str, Any]:
    """Train what the config says into the run directory; go on where the run was stopped. Of
    several ranks each comes here, with the same config. Returns the metrics by split.

    Raises:
        PetsError: for anything that the user can mend.
    """
    began = time.perf_counter()
    quiet()
    keep_freed_memory()
    memo.use_folder(config.cache_dir)
    check_signatures(config)

    # Weights come first: where they cannot be had, that is said before any data is read.
    backbone, preprocess, source = backbone_of(config, run)
    check_plan(config, backbone, preprocess)
    # A new run's: a logger without its package or its host ends the run here.
    fresh = not run.checkpoint().exists()
    loggers = build_loggers(config.logger, run.path, steps_done=0) if fresh else []
    photos = photos_of(config, run)

    model = new_model(config, backbone, preprocess, photos.classes)
    if config.compile:
        # In place: the names of the weights stay those of the network.
        model.backbone.compile()
    settings = settled(config.trainer)
    where, precision = device_type(settings.get("accelerator", "auto")), settings.get("precision")
    several = f" in {ranks().world} processes" if ranks().world > 1 else ""
    log.info("%s, weights: %s; on %s%s, %s", config.model.name, source, where, several, precision)

    recorder = Recorder(run)
    start = resume_point(config, model, recorder)
    if not fresh:
        done = start.steps_before + start.steps
        loggers = build_loggers(config.logger, run.path, steps_done=done)

    steps = start.steps_before
    for name in start.stages:
        stage = prepare_stage(config, name, model, photos, run, steps)
        if name == start.stages[0]:
            stage = replace(stage, epochs_done=start.epochs, batches_done=start.batches)
        if not stage.begun:
            search = LrSearch(stage, model, photos, config, run.path, loggers)
            if config.lr_curves:
                look(search)
            stage = find_rate(search, run)
            config = config.with_stage(name, stage.config)
        if stage.epochs_done < stage.config.epochs:
            steps += fit(stage, config, model, photos, recorder, loggers)

    module, data = learner(stage, config, model, photos)
    results = {
        split: measure(module, data, split, trainer(config.trainer))
        for split in (VALID, TEST)
        if photos.of(split)
    }
    log_hparams(loggers, config, results)
    run.finish(results)
    if config.report:
        on_rank_0(lambda: report(Trained(run, config, model, stage.name), photos, loggers))
    log_results(run, results, time.perf_counter() - began)
    return results


def fit(
    stage: Stage,
    config: TrainConfig,
    model: Classifier,
    photos: Photos,
    recorder: Recorder,
    loggers: list[Logger],
) -> int:
    """Train the network through a stage, or go on in it from the last checkpoint. Returns the
    optimizer steps of the whole stage."""
    run = recorder.run
    module, data = learner(stage, config, model, photos)
    callbacks = [*build_callbacks(config.callbacks), recorder, StopOnSignal(recorder)]
    engine = trainer(config.trainer, stage.config.epochs, callbacks, loggers)
    log_stage(stage.name, stage.config)
    began = time.perf_counter()
    engine.fit(module, data, ckpt_path=run.checkpoint() if stage.begun else None)
    run.add_seconds(stage.name, time.perf_counter() - began)
    log_speed(recorder.speed, config, stage.on_activations)
    return engine.global_step


def report(trained: Trained, photos: Photos, loggers: Sequence[Logger]) -> None:
    """Write `report.html` on the test photos, or the validation photos where there are none. One
    that fails is logged: the run is trained all the same."""
    again = f"the run is trained all the same; try pets interpret run={trained.run.path}"
    try:
        write_report(trained, photos, trained.config.interpret, loggers=loggers)
    except PetsError as error:
        log.warning("no report: %s; %s", error, again)
    except Exception:
        log.exception("no report; %s", again)
