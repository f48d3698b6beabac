"""What a stage is fed: photos, or what a frozen body made of them."""

from __future__ import annotations

import logging

from pets.config import LearnerConfig, PlanConfig, StageConfig
from pets.data.decoded import DecodedPhotos, decoded, worth_decoding
from pets.data.module import PetsDataModule
from pets.errors import ConfigError
from pets.models.classifier import Classifier
from pets.plan.freezing import frozen_groups
from pets.precompute.activations import activations

log = logging.getLogger(__name__)


def trains_head_alone(model: Classifier, stage: StageConfig) -> bool:
    """Whether the body is frozen in a stage, so that it gives the same in every epoch."""
    names = [name for name, _ in model.layer_groups]
    return frozen_groups(names, stage.freeze_to) == len(names) - 1


def check_feed(config: LearnerConfig, plan: PlanConfig, model: Classifier) -> None:
    """Raises ConfigError for pictures of a size that the network does not take, and for
    `precompute=true` where no stage could use it."""
    for name, stage in plan.stages.items():
        size = config.size_of(stage)
        if not model.body.takes(size):
            raise ConfigError(
                f"plan.stages.{name}: {config.model.name} takes no pictures of {size[0]} x "
                f"{size[1]} pixels; expected data.size={model.body.own_size}"
            )
    if not config.precompute.enabled:
        return
    frozen = [trains_head_alone(model, stage) for stage in plan.stages.values()]
    if not any(frozen):
        raise ConfigError(
            "precompute=true has no effect: no stage leaves the whole body frozen; expected a "
            "stage with freeze_to=-1, or precompute=false"
        )
    for key, value in (("data.cache", config.data.cache), ("compile", config.compile)):
        if all(frozen) and value in ("decoded", True):
            raise ConfigError(
                f"{key}={str(value).lower()} has no effect with precompute=true, since every "
                "stage runs on activations; leave one of the two out"
            )


def feed(
    config: LearnerConfig, stage: StageConfig, model: Classifier, data: PetsDataModule
) -> None:
    """Have `data` give the stage's batches, and `model` know the size of its pictures.

    Says what is kept where, and what becomes of the augmentation.
    """
    model.size = size = config.size_of(stage)
    if not (config.precompute.enabled and trains_head_alone(model, stage)):
        data.feed(size, decoded=_decoded(config, stage, model, data))
        return
    data.feed(size)
    data.feed(size, activations(config, model, data))
    off = [*config.augment.batch] if config.precompute.views else ["all augmentation"]
    if off:
        log.info(
            "  off on activations: %s%s",
            ", ".join(off),
            "" if config.precompute.views else "; precompute.views=4 keeps what is done to photos",
        )


def _decoded(
    config: LearnerConfig, stage: StageConfig, model: Classifier, data: PetsDataModule
) -> DecodedPhotos | None:
    where = config.data, config.cache_dir, data.photos, config.size_of(stage), model.preprocess
    if config.data.cache == "none":
        return None
    if config.data.cache == "auto" and not worth_decoding(*where, epochs=stage.epochs):
        return None
    return decoded(*where)
