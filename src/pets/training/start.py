"""The start of a run: its weights, its photos, and the point from which it resumes."""

from __future__ import annotations

import logging
import socket
from dataclasses import astuple, dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from pets.config import LearnerConfig, TrainConfig
from pets.data.collect import collect_photos
from pets.data.photos import SPLITS, Photo, Photos
from pets.data.prepare import make_data
from pets.data.splits import TEST, TRAIN, VALID
from pets.data.superclasses import superclasses_of
from pets.data.transforms import Preprocess
from pets.distributed.process_group import check_same, leader_first, on_rank_0
from pets.distributed.ranks import ranks
from pets.errors import ConfigError, DataError, RunError, reason_of, some
from pets.models.backbone import Backbone
from pets.models.classifier import Classifier
from pets.models.weights import empty_network
from pets.run_dir import RunDir
from pets.training.checkpoints import load_weights, read_checkpoint
from pets.training.measures import check_top_k
from pets.training.rates import check_steps
from pets.training.recorder import Recorder
from pets.training.trainer import limits
from pets.training.warm_start import initial_backbone

log = logging.getLogger(__name__)
Config = TypeVar("Config", bound=LearnerConfig)


def load_backbone(config: TrainConfig, run: RunDir) -> tuple[Backbone, Preprocess, str]:
    """Load the pretrained backbone, its preprocessing, and the source of its weights.

    A resumed run takes them from its checkpoint, without their original file, package or download.
    """
    last = run.checkpoint()
    check_same(f"whether there is {last}", last.exists())
    if not last.exists():
        # Weights are downloaded once per machine.
        return leader_first(lambda: initial_backbone(config))
    about = read_checkpoint(last, run.trusted)["pets"]
    backbone = Backbone(empty_network(config.model), config.model)
    return backbone, Preprocess(**about["preprocess"]), str(last)


def with_weights(config: Config, backbone: Backbone) -> Config:
    """Return the config with what the weights determine.

    That is the size of the photos for `auto`, and the architecture and arguments of a network that
    is named by its address.
    """
    height, width = backbone.own_size
    size = config.data.size
    if size == "auto":
        size = height if height == width else (height, width)
    data = config.data.model_copy(update={"size": size})
    return config.model_copy(update={"data": data, "model": backbone.config})


def record_weights(config: TrainConfig, run: RunDir) -> None:
    """Write what the weights determined to the run's config, from which all commands read it."""
    values = config.model_dump(by_alias=True, mode="json")
    run.update_config({"data.size": values["data"]["size"], "model": values["model"]})


def load_photos(config: TrainConfig, run: RunDir) -> Photos:
    """Collect the photos of the config and write their table into the run.

    A resumed run keeps its original photos, so that none moves to another split. Only the writing
    rank collects them; ranks on other machines must have the same photos.

    Raises:
        RunError: The photos of a resumed run have changed.
        DataError: Photos are missing, or too few for the ranks.
    """
    table = run.path / "photos.csv"
    resumed = on_rank_0(lambda: table.exists() and (run.path / "data.json").exists())
    if not resumed:
        leader_first(lambda: make_data(config.data))
    own = _collect(config, run, resumed) if ranks().writer else None
    host, rows = on_rank_0(lambda: (socket.gethostname(), [*map(astuple, own.rows if own else ())]))
    photos = own or Photos(Path(config.data.root), tuple(Photo(*row) for row in rows))
    if host != socket.gethostname() and photos.missing:
        raise DataError(
            f"{photos.root}: {some(photos.missing)} is missing on this machine, but not on {host}"
        )
    check_same(f"the photos below {photos.root}", photos.fingerprint)
    for split in SPLITS:
        if 0 < len(photos.of(split)) < ranks().world:
            raise DataError(
                f"{len(photos.of(split))} {split} photos for {ranks().world} ranks: expected at "
                "least one for each; a smaller trainer.devices, or another data.split"
            )
    if limited := limits(config.trainer):
        run.update_status(limited=limited)
    return photos


def _collect(config: TrainConfig, run: RunDir, resumed: bool) -> Photos:
    table, root = run.path / "photos.csv", Path(config.data.root)
    photos = Photos.load(table, root) if resumed else _few(collect_photos(config.data), config)
    if resumed and (gone := photos.missing):
        raise DataError(
            f"{root}: {len(gone):,} of the run's {len(photos.rows):,} photos are not there "
            f"({some(gone)}); say where they are now with data.root=<folder>"
        )
    counts = {split: len(photos.of(split)) for split in SPLITS}
    shown = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    log.info("%s: %s classes; %s", photos.root, len(photos.classes), shown)
    if not resumed:
        check_top_k(config, len(photos.classes))
        check_limits(config, photos)
        superclasses = superclasses_of(config.data, photos)
        photos.save(table)
        about: dict[str, Any] = {"classes": photos.classes, "fingerprint": photos.fingerprint}
        about |= {"superclasses": superclasses} if superclasses else {}
        run.write_json("data.json", {**counts, **about})
    elif run.read_json("data.json").get("fingerprint") != photos.fingerprint:
        raise RunError(
            f"{root}: the photos are not the ones that {run.path} began with; put them back, or "
            "start a new run"
        )
    return photos


def _few(photos: Photos, config: TrainConfig) -> Photos:
    """The photos of an overfit run: some of the training photos, evenly from the whole table, and
    the same ones for validation. All photos if it is not one. Raises DataError."""
    asked, rows = config.trainer.get("overfit_batches"), photos.of(TRAIN)
    if not asked:
        return photos
    whole = isinstance(asked, int)
    count = asked * config.data.batch_size * ranks().world if whole else round(asked * len(rows))
    few = rows[:: max(len(rows) // max(count, 1), 1)][:count]
    if len({photo.label for photo in few}) < 2:
        raise DataError(
            f"trainer.overfit_batches={asked}: {len(few)} photos of one class; expected more "
            "batches, or a larger data.batch_size"
        )
    return Photos(photos.root, (*few, *(replace(photo, split=VALID) for photo in few)))


def check_limits(config: TrainConfig, photos: Photos) -> None:
    """Raise ConfigError if a limit leaves less than one batch, or too few for a schedule.

    A limit may be a fraction of a split's batches.
    """
    for name, split in (("train", TRAIN), ("val", VALID), ("test", TEST)):
        limit = config.trainer.get(f"limit_{name}_batches")
        count = len(photos.of(split)) / (config.data.batch_size * ranks().world)
        batches = max(floor(count), 1) if split == TRAIN else ceil(count)
        if isinstance(limit, float) and batches and int(limit * batches) < 1:
            raise ConfigError(
                f"trainer.limit_{name}_batches={limit}: is less than one of {batches} batches; "
                "expected a larger fraction, or a number of batches"
            )
        if split == TRAIN:
            most = int(limit * batches) if isinstance(limit, float) else limit or batches
            check_steps(config, min(most, batches))
        if limit and not batches:
            log.info("trainer.limit_%s_batches=%s has no effect: no %s photos", name, limit, split)


@dataclass(frozen=True)
class StartPoint:
    """The progress of a run.

    Attributes:
        stages: Names of the stages still to be trained; if only the results are missing, the last
            one.
        steps_before: Optimizer steps of the stages before these.
        steps: Finished optimizer steps in the first of them.
        epochs: Finished epochs in it.
        batches: Finished batches in its current epoch.
        ended: Whether it is finished, after all its epochs or early.
    """

    stages: list[str]
    steps_before: int = 0
    steps: int = 0
    epochs: int = 0
    batches: int = 0
    ended: bool = False


class _Progress(BaseModel):
    """The progress in a checkpoint."""

    stage: str
    steps_before: int = Field(ge=0)
    steps: int = Field(ge=0)
    epochs: int = Field(ge=0)
    batches: int = Field(0, ge=0)
    stopped_early: bool = False


def steps_done(run: RunDir) -> int:
    """Return the optimizer steps in the last checkpoint, 0 if there is none. Raises RunError."""
    last = run.checkpoint()
    if not last.exists():
        return 0
    try:
        done = _Progress.model_validate(read_checkpoint(last, run.trusted)["pets"])
    except ValueError as error:
        reason = reason_of(error)
        raise RunError(f"{last}: does not fit the run's config.yaml ({reason})") from error
    return done.steps_before + done.steps


def resume_point(config: TrainConfig, model: Classifier, recorder: Recorder) -> StartPoint:
    """Return the beginning, or the progress of the last checkpoint after loading its weights.

    Raises:
        RunError: The checkpoint does not fit the config.
    """
    last, names = recorder.run.checkpoint(), list(config.plan.stages)
    if not last.exists():
        recorder.keep_only([])
        return StartPoint(names)
    checkpoint = read_checkpoint(last, recorder.run.trusted)
    try:
        done = _Progress.model_validate(checkpoint["pets"])
        index = names.index(done.stage)
        load_weights(model, checkpoint)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = reason_of(error)
        raise RunError(f"{last}: does not fit the run's config.yaml ({reason})") from error
    # Not by the planned number of epochs: an earlier stage may have been stopped early.
    recorder.keep_only(names[:index], done.stage, done.epochs)
    check_same(str(last), [done.stage, done.epochs, done.steps])
    within = f" and {done.batches} batches" if done.batches else ""
    log.info("resuming after %s epochs%s of stage %s", done.epochs, within, done.stage)
    early = done.stopped_early and not done.batches
    ended = early or done.epochs >= config.plan.stages[done.stage].epochs
    if ended and names[index + 1 :]:
        return StartPoint(names[index + 1 :], steps_before=done.steps_before + done.steps)
    return StartPoint(
        names[index:], done.steps_before, done.steps, done.epochs, done.batches, ended
    )
