"""`pets look`: preview the photos before training."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pets.config import LookConfig
from pets.config.validation import typed

if TYPE_CHECKING:
    from pets.data.photos import Photos

SCHEMA = LookConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Photos:
    """Log a summary of the data set and plot sample photos, augmentations, classes and sizes."""
    config = typed(LookConfig, cfg)
    from hydra.core.hydra_config import HydraConfig

    from pets.data import preview
    from pets.data.prepare import prepare_photos
    from pets.data.transforms import check_augment
    from pets.io.pictures import pixels, png
    from pets.run_dir import from_here

    check_augment(config.augment)
    folder = from_here(HydraConfig.get().runtime.output_dir)
    photos = prepare_photos(config.data)
    sizes = preview.photo_sizes(photos)
    for line in preview.describe(photos, sizes):
        log.info(line)
    chosen = preview.choose(photos, config.photos, config.seed)
    pictures = {
        "photos.png": preview.draw_photos(photos, chosen, config.data),
        "augmented.png": preview.draw_augmented(photos, chosen, config),
        "classes.png": preview.draw_classes(photos),
        "sizes.png": preview.draw_sizes(sizes),
    }
    log.info("")
    if not preview.is_augmented(config.augment):
        log.info("augmented.png shows unaugmented photos: this config has no augmentation")
    if config.data.size == "auto":
        height, width = config.data.size_without_weights
        log.info("data.size=auto: shown at %s x %s pixels; training takes the size of the weights",
                 height, width)  # fmt: skip
    for name, figure in pictures.items():
        (folder / name).write_bytes(png(pixels(figure)))
        log.info("picture  %s", folder / name)
    return photos
