"""Pooled features of training and validation photos by a frozen backbone, and its speed."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from hydra import compose
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from pets.cache import memo
from pets.config import LearnerConfig, ModelConfig, PrecomputeConfig, ProbeConfig, TrainConfig
from pets.config.run_overrides import put_over
from pets.config.validation import typed, typed_values
from pets.data.labels import label_rule
from pets.data.photos import Photo, Photos
from pets.data.prepare import prepare_photos
from pets.data.splits import TRAIN, VALID
from pets.data.transforms import Preprocess
from pets.errors import ConfigError, DataError
from pets.features.activations import activations
from pets.features.engine import check_engine, make_engine
from pets.models.backbone import Backbone
from pets.models.classifier import Classifier
from pets.run_dir import RunDir
from pets.system.cpu import keep_freed_memory
from pets.system.devices import all_threads, device_type
from pets.training.evaluation import photos_of_run
from pets.training.library_logs import silence_lightning
from pets.training.module import new_model
from pets.training.start import with_weights
from pets.training.trainer import build_trainer, check_trainer

Config = TypeVar("Config", bound=ProbeConfig)
# What may be typed with run=.
_HOW = ("data.size", "data.batch_size", "data.num_workers")
_OF_DATA = ("data.root", *_HOW)
# Keys of a run's data that have no effect here, which the config would refuse.
_OWN_WAYS = {"cache": "none", "cache_side": None, "sampler": "shuffle"}
_ROUNDS, _LEAST_ROUNDS, _SECONDS = 20, 3, 2.0  # timings of a batch: enough, or enough time


@dataclass(frozen=True)
class Features:
    """Pooled features (photos, channels) and class indices (photos,) of both splits."""

    train: NDArray[np.float64]
    train_labels: NDArray[np.int64]
    valid: NDArray[np.float64]
    valid_labels: NDArray[np.int64]


def probe_config(
    schema: type[Config], cfg: DictConfig, overrides: list[str]
) -> tuple[Config, RunDir | None]:
    """Return the typed config, with the photos (and the network) of the run in `run`, if any."""
    if cfg.run is None:
        return typed(schema, cfg), None
    run = RunDir.open_finished(cfg.run, cfg.trust is True)
    own = run.train_config.model_dump(by_alias=True, mode="json")
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    values["data"] = {**own["data"], **_OWN_WAYS, "size": "auto"}
    fixed = ["data"]
    if "model" in values:
        values["model"] = own["model"]
        fixed.append("model")
    put_over(
        values, cfg, overrides,
        lambda key: key in _OF_DATA or key.replace("/", ".").split(".")[0] not in fixed,
        f"with run= the run's own is used; of {' and '.join(fixed)} only {', '.join(_OF_DATA)} may "
        "be given",
    )  # fmt: skip
    return typed_values(schema, values), run


def data_overrides(overrides: list[str], run: RunDir | None) -> tuple[str, ...]:
    """Return those of the overrides that choose photos.

    With a run they are the run's, whose experiment may have chosen the photos, with the root that
    is given now. None of them says how photos are read.
    """
    moved = [override for override in overrides if override.startswith("data.root=")]
    given = overrides if run is None else [*run.overrides, *moved]
    last = {override.partition("=")[0].lstrip("+~"): override for override in given}
    kept = ("data", "experiment")
    return tuple(o for key, o in last.items() if key.split(".")[0] in kept and key not in _HOW)


def probe_photos(config: ProbeConfig, run: RunDir | None) -> Photos:
    """Return the training and validation photos, after all checks that need no photo.

    Raises:
        ConfigError: A value is wrong.
        DataError: There are no validation photos, or not two classes with two training photos.
    """
    silence_lightning()
    keep_freed_memory()
    memo.use_folder(config.cache_dir)
    label_rule(config.data.label_from)
    check_trainer(config.trainer)
    check_engine(config.engine, device_type(config.trainer.get("accelerator", "auto")))
    root = config.data.root
    whole = photos_of_run(run, root, TRAIN, VALID) if run else prepare_photos(config.data)
    photos = Photos(whole.root, tuple(whole.of(TRAIN, VALID)))
    if not photos.of(VALID):
        raise DataError(
            f"data.root={root}: no validation photos, on which errors are measured; expected some: "
            "data.split=random with a larger data.valid_pct, or a folder valid/"
        )
    counts = Counter(photo.label for photo in photos.of(TRAIN))
    if sum(count > 1 for count in counts.values()) < 2:
        raise DataError(
            f"data.root={root}: fewer than two classes have two training photos; expected more "
            "photos, since the head is chosen by cross-validation"
        )
    return photos


def learner_of(config: ProbeConfig) -> LearnerConfig:
    """Return the config of a training of a linear head on activations, inside a command."""
    base = typed(TrainConfig, compose("train", ["augment=none", "model/head=linear"]))
    enabled = PrecomputeConfig(enabled=True, views=0, engine=config.engine, dtype="float32")
    return base.model_copy(
        update={
            "data": config.data,
            "trainer": config.trainer,
            "precompute": enabled,
            "cache_dir": config.cache_dir,
            "seed": config.seed,
        }
    )


def with_model(config: LearnerConfig, model: ModelConfig) -> LearnerConfig:
    """Return the config with another backbone, which stays frozen."""
    plain = {"head": config.model.head, "lora": None, "grad_checkpointing": False}
    return config.model_copy(update={"model": model.model_copy(update=plain)})


def with_backbone(
    config: LearnerConfig, backbone: Backbone, preprocess: Preprocess, classes: list[str]
) -> tuple[LearnerConfig, Classifier]:
    """Return the config with what the weights determine, and the network.

    Raises ConfigError if it does not accept photos of the config's size.
    """
    config = with_weights(config, backbone)
    height, width = config.data.height_width
    if not backbone.takes((height, width)):
        raise ConfigError(
            f"data.size={config.data.size}: {config.model.name} takes no pictures of {height} x "
            f"{width} pixels; expected data.size=auto"
        )
    return config, new_model(config, backbone, preprocess, classes)


def pooled_features(config: LearnerConfig, model: Classifier, photos: Photos) -> Features:
    """Return the features of all photos, from the cache or by one pass.

    Raises:
        CacheError: The cache cannot be written.
        DataError: A photo cannot be read.
        ConfigError: The backbone's features are not finite.
    """
    found = activations(config, model, photos, config.data.height_width, build_trainer)[TRAIN]
    index = {name: i for i, name in enumerate(photos.classes)}

    def of(rows: list[Photo]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        chosen = torch.tensor([found.rows[content] for content in photos.contents(rows)])
        pooled = model.backbone.from_activations(found.values[chosen, 0].float())
        if not pooled.isfinite().all():
            raise ConfigError(f"{config.model.name}: its features are not finite")
        labels = np.array([index[photo.label] for photo in rows], dtype=np.int64)
        return pooled.double().numpy(), labels

    return Features(*of(photos.of(TRAIN)), *of(photos.of(VALID)))


def photos_per_second(config: LearnerConfig, model: Classifier, photos: int) -> float:
    """Measure the backbone on batches of the pass over so many `photos`, without loading them."""
    shape = (config.data.batch_size, 3, *config.data.height_width)
    batch = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    timing = _Timing(model, config.precompute.engine, photos)
    model.eval()
    with all_threads():
        trainer = build_trainer(config.trainer)
        loader: DataLoader[Tensor] = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
        trainer.predict(timing, loader, return_predictions=False)
    return len(batch) / min(timing.seconds)  # the others had to wait for other programs


class _Timing(LightningModule):
    """Times the batches of a pass, in the Trainer's precision and on its device."""

    def __init__(self, model: Classifier, engine: str, photos: int) -> None:
        super().__init__()
        self.model, self.engine_name, self.photos = model, engine, photos
        self.seconds: list[float] = []

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        layout, backbone = self.model.config.channels_last, self.model.backbone
        engine = make_engine(self.engine_name, backbone, batch, self.photos, layout)
        engine(batch).flatten()[0].item()  # the first one allocates memory
        while len(self.seconds) < _LEAST_ROUNDS or (
            sum(self.seconds) < _SECONDS and len(self.seconds) < _ROUNDS
        ):
            started = time.perf_counter()
            features = engine(batch)
            features.flatten()[0].item()  # waits for an accelerator
            self.seconds.append(time.perf_counter() - started)
        return features
