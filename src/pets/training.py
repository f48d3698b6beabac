"""The main job, told straight: weights, photos, stages, results."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer

from pets.callbacks.interpret import Interpret
from pets.callbacks.lr_finder import LRFinder
from pets.callbacks.recorder import Recorder
from pets.callbacks.speed import Speed
from pets.checkpoints import read_checkpoint
from pets.config import LearnerConfig, TrainConfig
from pets.data.module import PetsDataModule, automatic_workers, prepare_photos
from pets.data.photos import SPLITS, Photos
from pets.data.splits import TEST, VALID
from pets.data.transforms import Preprocess, check_augment
from pets.devices import check_compiler, device_type, settled
from pets.errors import RunError
from pets.evaluation import Trained, measure
from pets.finder.auto import settle_rate
from pets.finder.search import LrSearch
from pets.lightning import (
    build_callbacks,
    build_loggers,
    check_trainer,
    log_hparams,
    quiet,
    trainer,
)
from pets.memory import keep_freed_memory
from pets.models.body import Body
from pets.models.classifier import HEAD, new_body
from pets.models.weights import empty_network
from pets.plan.freezing import frozen_groups
from pets.plan.transfer import TransferModule, new_module
from pets.precompute.builders import check_engine
from pets.precompute.feed import check_feed, feed
from pets.run_dir import RunDir
from pets.seeding import derive
from pets.targets import check_signature

log = logging.getLogger(__name__)


def train(config: TrainConfig, run: RunDir) -> dict[str, Any]:
    """Train what the config says into the run directory; go on where the run was stopped.

    Returns the results: metrics by split. Raises PetsError.
    """
    began = time.perf_counter()
    quiet()
    keep_freed_memory()
    check_signatures(config)

    # Weights come first: where they cannot be had, that is said before any data is read.
    body, preprocess, source = body_of(config, run)
    for stage in config.plan.stages.values():
        frozen_groups([*(name for name, _ in body.groups), HEAD], stage.freeze_to)
    photos = photos_of(config, run)

    data = PetsDataModule(config.data, config.augment, preprocess, photos, config.seed)
    module = new_module(config, body, preprocess, photos.classes)
    check_feed(config, config.plan, module.model)
    if config.compile:
        # In place: the names of the weights stay those of the network.
        module.model.body.compile()
    settings = settled(config.trainer)
    where, precision = device_type(settings.get("accelerator", "auto")), settings.get("precision")
    log.info("%s, weights: %s; on %s, %s", config.model.name, source, where, precision)

    recorder = Recorder(run)
    start = resume_point(config, module, recorder)
    loggers = build_loggers(config.logger, run.path, steps_done=start.steps_before + start.steps)
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
        feed(config, stage, module.model, data)
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
        data.begin(name)
        fit: Trainer = trainer(
            config.trainer,
            max_epochs=stage.epochs,
            callbacks=[*callbacks, recorder],
            logger=loggers,
        )
        log.info("\nstage %s: %s epochs, lr %s", name, stage.epochs, _rates(stage.rates))
        began = time.perf_counter()
        fit.fit(module, data, ckpt_path=run.checkpoint() if going_on else None)
        run.add_seconds(name, time.perf_counter() - began)
        say_speed(recorder.speed, config, on_activations=data.activations is not None)
        steps += fit.global_step
    return config


@dataclass(frozen=True)
class StartPoint:
    """The stage to begin or go on with, by its place in the plan; the optimizer steps done before
    it, and inside it."""

    place: int = 0
    steps_before: int = 0
    steps: int = 0


def resume_point(config: TrainConfig, module: TransferModule, recorder: Recorder) -> StartPoint:
    """Where to start: the beginning, or after the last checkpoint, whose weights are put into the
    module."""
    last = recorder.run.checkpoint()
    if not last.exists():
        recorder.keep_only(0)
        return StartPoint()
    checkpoint = read_checkpoint(last)
    about = checkpoint["pets"]
    module.load_state_dict(checkpoint["state_dict"])
    names = list(config.plan.stages)
    place = names.index(about["stage"])
    before = sum(config.plan.stages[name].epochs for name in names[:place])
    recorder.keep_only(before + about["epochs"])
    log.info("going on after %s epochs of stage %s", about["epochs"], about["stage"])
    if about["epochs"] >= config.plan.stages[about["stage"]].epochs:
        return StartPoint(place + 1, about["steps_before"] + about["steps"])
    return StartPoint(place, about["steps_before"], about["steps"])


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
    check_trainer(config.trainer)
    check_engine(config.precompute.engine, device_type(config.trainer.get("accelerator", "auto")))
    if config.compile:
        check_compiler()


def body_of(config: TrainConfig, run: RunDir) -> tuple[Body, Preprocess, str]:
    """The pretrained body, what it expects of photos, where its weights come from.

    A resumed run's weights are in its checkpoint: the file, package or net they once came from is
    not needed again, on another machine either.
    """
    last = run.checkpoint()
    if not last.exists():
        return new_body(config.model, config.seed)
    about = read_checkpoint(last)["pets"]
    body = Body(empty_network(config.model), config.model)
    return body, Preprocess(**about["preprocess"]), str(last)


def photos_of(config: TrainConfig, run: RunDir) -> Photos:
    """The photos of the config, written into the run; a resumed run's are those it began with, so
    that none changes from one split to another. Raises RunError where these have changed."""
    table = run.path / "photos.csv"
    resumed = table.exists() and (run.path / "data.json").exists()
    photos = Photos.load(table, Path(config.data.root)) if resumed else prepare_photos(config.data)
    counts = {split: len(photos.of(split)) for split in SPLITS}
    log.info(
        "%s: %s classes; %s",
        photos.root,
        len(photos.classes),
        ", ".join(f"{count:,} {split}" for split, count in counts.items()),
    )
    found = {**counts, "classes": photos.classes, "fingerprint": photos.fingerprint}
    if not resumed:
        photos.save(table)
        run.write_json("data.json", found)
    elif run.read_json("data.json").get("fingerprint") != photos.fingerprint:
        raise RunError(
            f"{photos.root}: the photos are not the ones that {run.path} began with; put them "
            "back, or start a new run"
        )
    return photos


def say_speed(speed: Speed, config: TrainConfig, on_activations: bool) -> None:
    """How fast a stage was, and what would make it faster where it waited for photos."""
    if not speed.images:
        return
    what = "activations" if on_activations else "images"
    advice = ""
    if speed.waited > 0.2 and not on_activations:
        keys = [] if config.data.cache == "decoded" else ["data.cache=decoded"]
        keys += ["more data.num_workers"] if automatic_workers() else ["a smaller data.size"]
        advice = f"; {' or '.join(keys)} would help"
    log.info(
        "  %s %s/s, %.0f %% of the time waiting for them%s",
        f"{speed.images_per_second:,.0f}", what, 100 * speed.waited, advice,
    )  # fmt: skip


def say_what_was_reached(run: RunDir, results: dict[str, Any], seconds: float) -> None:
    """The last lines of a run: numbers, places, next steps."""
    log.info("")
    for split, found in results.items():
        log.info(
            "%-5s  accuracy %.2f %%  error rate %.2f %%  mean class accuracy %.2f %%  (%s photos)",
            split,
            100 * found["accuracy"],
            100 * found["error_rate"],
            100 * found["mean_class_accuracy"],
            f"{found['photos']:,}",
        )
    log.info("took   %d:%02d", *divmod(round(seconds), 60))
    log.info("run    %s", run.path)
    if (run.path / "report.html").exists():
        log.info("report %s", run.path / "report.html")
    log.info("\nnext:")
    log.info("  pets predict run=%s source=<photo or folder>", run.path)
    if not (run.path / "report.html").exists():
        log.info("  pets interpret run=%s", run.path)
    log.info("  tensorboard --logdir %s", run.path.parent)


def _rates(lr: float | tuple[float, float]) -> str:
    return f"{lr:g}" if isinstance(lr, float | int) else f"{lr[0]:g} to {lr[1]:g}"
