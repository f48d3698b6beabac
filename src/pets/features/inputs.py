"""What a stage is fed: photos, or what a frozen backbone made of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pets.config import LearnerConfig, StageConfig
from pets.data.datamodule import PetsDataModule
from pets.data.decoded import DecodedPhotos, Decoder
from pets.data.device_augment import device_augment
from pets.distributed.process_group import leader_first, on_rank_0
from pets.errors import ConfigError
from pets.features.activations import activations
from pets.models.classifier import Classifier
from pets.training.freezing import frozen_groups

log = logging.getLogger(__name__)


def trains_head_alone(model: Classifier, stage: StageConfig) -> bool:
    """Whether the backbone is frozen in a stage, so that it gives the same in every epoch."""
    names = [name for name, _ in model.layer_groups]
    return frozen_groups(names, stage.freeze_to) == len(names) - 1


def on_activations(config: LearnerConfig, model: Classifier, stage: StageConfig) -> bool:
    """Whether a stage runs on what the backbone gave, in the place of photos."""
    return config.precompute.enabled and trains_head_alone(model, stage)


def check_feed(config: LearnerConfig, stages: Mapping[str, StageConfig], model: Classifier) -> None:
    """Raises ConfigError for pictures of a size that the network does not take or that decoded
    photos are too small for, and for settings of what no stage is fed."""
    for name, stage in stages.items():
        size = config.size_of(stage)
        if not model.backbone.takes(size):
            raise ConfigError(
                f"{name}: {model.config.name} takes no pictures of {size[0]} x {size[1]} pixels; "
                f"expected data.size={model.backbone.own_size}"
            )
        Decoder(config.data, model.preprocess, size, config.cache_dir).check(name)
    fed = [on_activations(config, model, stage) for stage in stages.values()]
    if config.precompute.enabled and not any(fed):
        raise ConfigError(
            "precompute=true has no effect: no stage leaves the whole backbone frozen; expected a "
            "stage with freeze_to=-1, or precompute=false"
        )
    if all(fed) and config.data.cache == "decoded":
        raise ConfigError(
            "data.cache=decoded has no effect with precompute=true, since every stage runs on "
            "activations; leave one of the two out"
        )


def feed(
    config: LearnerConfig,
    stage: StageConfig,
    model: Classifier,
    data: PetsDataModule,
    epochs: int,
) -> None:
    """Have `data` give the stage's batches, and `model` know the size of its pictures.

    `epochs` is how often photos of this size will be read. Says what is kept where, and what
    becomes of the augmentation.
    """
    model.size = size = config.size_of(stage)
    if not on_activations(config, model, stage):
        data.feed(size, decoded=_decoded(config, model, data, epochs))
        return
    data.feed(size, leader_first(lambda: activations(config, model, data.photos, size)))
    if not config.precompute.views:
        log.info("  not augmented: precompute.views=4 keeps four augmented views of every photo")
    elif config.augment.batch:
        log.info("  off on activations: %s", ", ".join(config.augment.batch))


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
    config: LearnerConfig, model: Classifier, data: PetsDataModule, epochs: int
) -> DecodedPhotos | None:
    decoder = Decoder(config.data, model.preprocess, model.size, config.cache_dir)
    if config.data.cache == "none":
        return None
    if config.data.cache == "auto" and not on_rank_0(lambda: decoder.pays(data.photos, epochs)):
        return None
    found = leader_first(lambda: decoder.decoded(data.photos))
    if device_augment(config.augment, model.size, model.preprocess, found.side) is None:
        log.info(
            "  augmented photo by photo by the loaders: data.cache_side is large for the size, or "
            "augment has more than a crop, a flip and lighting"
        )
    return found
