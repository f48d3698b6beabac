"""What a stage is trained on: photos, or what a frozen backbone made of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from pets.config import LearnerConfig, StageConfig, TrainConfig
from pets.data.decoded import DecodedPhotos, Decoder
from pets.data.device_augment import device_augment
from pets.data.photos import Photos
from pets.distributed.process_group import leader_first, on_rank_0
from pets.errors import ConfigError
from pets.features.activations import activations
from pets.models.classifier import Classifier
from pets.models.freezing import frozen_groups
from pets.run_dir import RunDir
from pets.training.stage import Inputs, Stage
from pets.training.trainer import trainer

log = logging.getLogger(__name__)


def trains_head_alone(model: Classifier, stage: StageConfig) -> bool:
    """Whether the backbone is frozen in a stage, so that it gives the same in every epoch."""
    names = [name for name, _ in model.layer_groups]
    return frozen_groups(names, stage.freeze_to) == len(names) - 1


def on_activations(config: LearnerConfig, model: Classifier, stage: StageConfig) -> bool:
    """Whether a stage is trained on activations of the backbone, in the place of photos."""
    return config.precompute.enabled and trains_head_alone(model, stage)


def check_inputs(
    config: LearnerConfig, stages: Mapping[str, StageConfig], model: Classifier
) -> None:
    """Check that the network and the settings suit the inputs of all stages.

    Raises:
        ConfigError: for photos of a size that the network does not take or that decoded photos are
            too small for, and for settings of inputs that no stage has.
    """
    for name, stage in stages.items():
        size = config.size_of(stage)
        if not model.backbone.takes(size):
            raise ConfigError(
                f"{name}: {model.config.name} takes no pictures of {size[0]} x {size[1]} pixels; "
                f"expected data.size={model.backbone.own_size}"
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


def prepare_stage(
    config: TrainConfig, name: str, model: Classifier, photos: Photos, run: RunDir, steps: int
) -> Stage:
    """Prepare the inputs of a stage of the plan; the time for activations is noted in the run.

    Args:
        config: the plan, and what inputs depend on.
        name: of the stage.
        model: the network as the earlier stages left it.
        photos: all splits.
        run: where the time is noted.
        steps: optimizer steps of the earlier stages.
    """
    plan = config.plan.stages
    began = time.perf_counter()
    epochs = epochs_on_photos(config, model, plan, plan[name])
    inputs = prepare_inputs(config, plan[name], model, photos, epochs)
    stage = Stage.of_plan(name, plan[name], inputs, config.seed, steps)
    if stage.on_activations:
        run.add_seconds(f"{name}/precompute", time.perf_counter() - began)
    return stage


def prepare_inputs(
    config: LearnerConfig, stage: StageConfig, model: Classifier, photos: Photos, epochs: int
) -> Inputs:
    """Compute, decode or find in the cache what a stage is trained on, and log which it is.

    Args:
        config: cache, augmentation, precomputing.
        stage: its photos' size and freeze level.
        model: the network, whose backbone makes the activations.
        photos: all splits.
        epochs: how often photos of this size will be read.
    """
    size = config.size_of(stage)
    if not on_activations(config, model, stage):
        return Inputs(size, decoded=_decoded(config, model, photos, size, epochs))
    computed = leader_first(lambda: activations(config, model, photos, size, trainer))
    if not config.precompute.views:
        log.info("  not augmented: precompute.views=4 keeps four augmented views of every photo")
    elif config.augment.batch:
        log.info("  off on activations: %s", ", ".join(config.augment.batch))
    return Inputs(size, computed)


def epochs_on_photos(
    config: LearnerConfig, model: Classifier, stages: Mapping[str, StageConfig], stage: StageConfig
) -> int:
    """How many epochs of a plan read photos of the size that a stage reads."""
    size = config.size_of(stage)
    return sum(
        other.epochs
        for other in stages.values()
        if config.size_of(other) == size and not on_activations(config, model, other)
    )


def _decoded(
    config: LearnerConfig, model: Classifier, photos: Photos, size: tuple[int, int], epochs: int
) -> DecodedPhotos | None:
    decoder = Decoder(config.data, model.preprocess, size, config.cache_dir)
    if config.data.cache == "none":
        return None
    if config.data.cache == "auto" and not on_rank_0(lambda: decoder.pays(photos, epochs)):
        return None
    decoded = leader_first(lambda: decoder.decoded(photos))
    if device_augment(config.augment, size, model.preprocess, decoded.side) is None:
        log.info(
            "  augmented photo by photo by the loaders: data.cache_side is large for the size, or "
            "augment has more than a crop, a flip and lighting"
        )
    return decoded
