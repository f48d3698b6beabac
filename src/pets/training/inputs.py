"""The inputs of a stage: photos, or cached activations of the frozen backbone."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from pets.config import LearnerConfig, StageConfig, TrainConfig
from pets.data.decoded import Decoder
from pets.data.device_augment import device_augment
from pets.data.photos import Photos
from pets.distributed.process_group import leader_first, on_rank_0
from pets.errors import ConfigError
from pets.features.activations import activations
from pets.models.classifier import HEAD, Classifier
from pets.run_dir import RunDir
from pets.training.stage import Inputs, Stage
from pets.training.trainer import build_trainer

log = logging.getLogger(__name__)


def on_activations(config: LearnerConfig, model: Classifier, stage: StageConfig) -> bool:
    """Whether a stage trains on activations: they are enabled, and it trains only the head."""
    return config.precompute.enabled and model.trained_groups(stage.freeze_to) == [HEAD]


def check_inputs(
    config: LearnerConfig, stages: Mapping[str, StageConfig], model: Classifier
) -> None:
    """Check that the network and the settings suit the inputs of all stages.

    Raises:
        ConfigError: The network does not accept the photos' size, decoded photos are too small for
            it, or a setting has no effect on any stage.
    """
    _check_img_size(model)
    for name, stage in stages.items():
        size = config.size_of(stage)
        if not model.backbone.takes(size):
            own = " x ".join(map(str, model.backbone.own_size))
            if (asked := model.config.args.get("img_size")) is not None:
                raise ConfigError(
                    f"model.args.img_size={asked}: the photos of {name} have {size[0]} x {size[1]} "
                    f"pixels; expected an img_size like theirs, or data.size=auto ({own})"
                )
            raise ConfigError(
                f"{name}: {model.config.name} takes no pictures of {size[0]} x {size[1]} pixels; "
                f"expected data.size=auto ({own}) or another model.args.img_size"
            )
        Decoder(config.data, model.preprocess, size, config.cache_dir).check(name)
    activated = [on_activations(config, model, stage) for stage in stages.values()]
    if config.precompute.enabled and not any(activated):
        raise ConfigError(
            "precompute=true has no effect: no stage leaves the whole backbone frozen; expected a "
            "stage with freeze_to=-1, or precompute=false"
        )
    if all(activated) and config.data.cache == "decoded":
        raise ConfigError(
            "data.cache=decoded has no effect with precompute=true, since every stage runs on "
            "activations; leave one of the two out"
        )


def _check_img_size(model: Classifier) -> None:
    """Refuse a size that the network's patches do not fill: it would ignore the photos' edges."""
    asked, patch = model.config.args.get("img_size"), model.backbone.patch
    for side, of_patch in zip(model.backbone.own_size, patch, strict=True):
        if asked is not None and (rest := side % of_patch):
            low = side - rest or of_patch
            raise ConfigError(
                f"model.args.img_size={asked}: expected a multiple of the {of_patch} pixels of the "
                f"network's patches, as {low} or {side - rest + of_patch}"
            )


def prepare_stage(
    config: TrainConfig, name: str, model: Classifier, photos: Photos, run: RunDir, steps: int
) -> Stage:
    """Return a stage of the plan with its inputs, for the network after the earlier stages.

    `steps` is the number of optimizer steps before it. The time spent on activations is recorded in
    the run.
    """
    stage, size = config.plan.stages[name], config.size_of(config.plan.stages[name])
    started = time.perf_counter()
    epochs = sum(
        other.epochs
        for other in config.plan.stages.values()
        if config.size_of(other) == size and not on_activations(config, model, other)
    )
    inputs = prepare_inputs(config, stage, model, photos, epochs)
    if inputs.activations is not None:
        run.add_seconds(f"{name}/precompute", time.perf_counter() - started)
    return Stage.of_plan(name, stage, inputs, config.seed, steps)


def prepare_inputs(
    config: LearnerConfig, stage: StageConfig, model: Classifier, photos: Photos, epochs: int
) -> Inputs:
    """Compute a stage's inputs or load them from the cache, and log which.

    `epochs` is how often photos of its size will be read.
    """
    size, augment = config.size_of(stage), config.augment
    if on_activations(config, model, stage):
        computed = leader_first(lambda: activations(config, model, photos, size, build_trainer))
        if not config.precompute.views:
            log.info("  not augmented: precompute.views=4 keeps four augmented views of each photo")
        elif augment.batch:
            log.info("  not used on activations: %s", ", ".join(augment.batch))
        return Inputs(size, computed)
    decoder = Decoder(config.data, model.preprocess, size, config.cache_dir)
    cache = config.data.cache
    if cache == "none" or (cache == "auto" and not on_rank_0(lambda: decoder.pays(photos, epochs))):
        return Inputs(size)
    decoded = leader_first(lambda: decoder.decoded(photos))
    if device_augment(augment, size, model.preprocess, decoded.side) is None:
        log.info(
            "  augmented photo by photo by the loaders: data.cache_side is large for the size, or "
            "augment has more than a crop, a flip and lighting"
        )
    return Inputs(size, decoded=decoded)
