"""The activations of a run's photos: read from the cache, or computed in one pass and cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import nn

from pets.cache.store import Store
from pets.config import LearnerConfig
from pets.data.activation_dataset import Activations
from pets.data.content_hash import hash_of_set, write_contents
from pets.data.dataset import PhotoFiles
from pets.data.photos import SPLITS, Photo, Photos
from pets.data.splits import TRAIN
from pets.data.transforms import CentreCrop, train_pixels
from pets.features.extract import RowWriter, ViewsDataset, run_pass, seeds_of_views
from pets.models.classifier import Classifier
from pets.system.devices import device_type, settled

KIND, FORMAT = "activations", 1


def activations(
    config: LearnerConfig,
    model: Classifier,
    photos: Photos,
    size: tuple[int, int],
    trainer: Callable[..., Trainer],
) -> dict[str, Activations]:
    """The activations of every split's photos, seen as pictures of a size (height, width).

    With `precompute.views` training photos have as many augmented views; else they are seen as
    validation photos are. Raises CacheError, and DataError for a photo that cannot be read.
    """
    views = config.precompute.views
    if not views:
        return dict.fromkeys(SPLITS, _of(photos.rows, 0, config, model, photos, size, trainer))
    held_out = photos.of(*(split for split in SPLITS if split != TRAIN))
    return {
        **dict.fromkeys(SPLITS, _of(held_out, 0, config, model, photos, size, trainer)),
        TRAIN: _of(photos.of(TRAIN), views, config, model, photos, size, trainer),
    }


def _of(
    rows: Sequence[Photo],
    views: int,
    config: LearnerConfig,
    model: Classifier,
    photos: Photos,
    size: tuple[int, int],
    trainer: Callable[..., Trainer],
) -> Activations:
    """Of some photos, each in as many augmented views, or in one that is not augmented."""
    settings = config.precompute
    by_content = dict(zip(photos.contents(rows), rows, strict=True))
    contents = sorted(by_content)
    shape = (len(contents), max(views, 1), *_shape_of_row(model, size))
    room = prod(shape) * np.dtype(settings.dtype).itemsize
    seen = f"{views} views of {len(rows):,} photos" if views else f"{len(rows):,} photos"

    def make(folder: Path) -> None:
        write_contents(folder, contents)
        files = PhotoFiles([photos.root / by_content[content].path for content in contents])
        chain = (
            train_pixels(config.augment, size, model.preprocess)
            if views
            else CentreCrop(size, model.preprocess)
        )
        viewed = ViewsDataset(files, chain, seeds_of_views(contents, max(views, 1)))
        run_pass(config, model, viewed, RowWriter(folder, shape, settings.dtype), trainer)

    key = {"photos": hash_of_set(contents), "views": views, **_key(config, model, size, views)}
    about = [model.config.name, f"{size[0]} x {size[1]} pixels", key["precision"], settings.engine]
    words = f"activations of {seen} ({', '.join([*about, settings.dtype])})"
    return Store(config.cache_dir).get(KIND, key, words, room, make, Activations.load)


def _key(
    config: LearnerConfig, model: Classifier, size: tuple[int, int], views: int
) -> dict[str, Any]:
    """Everything that activations depend on beside the photos."""
    augment = config.augment.model_dump(by_alias=True, mode="json", exclude={"batch"})
    about = model.config.model_dump(include={"library", "name", "channels_last"})
    return {
        "format": FORMAT,
        "size": size,
        "preprocess": model.preprocess.as_dict(),
        "augment": augment if views else None,
        "backbone": {**about, "weights": _digest_of_weights(model.backbone)},
        "cut": model.cut,
        "engine": config.precompute.engine,
        "dtype": config.precompute.dtype,
        "precision": settled(config.trainer).get("precision"),
        "device": device_type(config.trainer.get("accelerator", "auto")),
        "versions": {name: version(name) for name in ("torch", "torchvision", "timm", "pillow")},
    }


def _digest_of_weights(backbone: nn.Module) -> str:
    whole = blake2b(digest_size=16)
    for name, tensor in backbone.state_dict().items():
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return whole.hexdigest()


def _shape_of_row(model: Classifier, size: tuple[int, int]) -> tuple[int, ...]:
    if model.cut == "pooled":
        return (2 * model.backbone.features,)
    return model.backbone.shape_of_map(size)
