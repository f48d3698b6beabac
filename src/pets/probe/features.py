"""The pooled features of photos by a frozen backbone, its speed, and the configs for both."""

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
_READING = ("data.size", "data.batch_size", "data.num_workers")  # how photos are read, not which
_WITH_RUN = ("data.root", *_READING)  # keys of a run's own config that may be overridden
# Replaces values of a run's config that have no effect here, but would be refused.
_WITHOUT_EFFECT = {"cache": "none", "cache_side": None, "sampler": "shuffle"}
# A batch is timed this often at least, then on to so many seconds or rounds in all.
_LEAST_ROUNDS, _SECONDS, _MOST_ROUNDS = 3, 2.0, 20


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
    """Return the validated config, and the run in `run`, whose data and model it then has.

    Raises:
        ConfigError: A value is wrong, or an override is not allowed with `run`.
        RunError: The run is missing or unfinished.
    """
    if cfg.run is None:
        return typed(schema, cfg), None
    run = RunDir.open_finished(cfg.run, cfg.trust is True)
    own = run.train_config.model_dump(by_alias=True, mode="json")
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    values["data"] = {**own["data"], **_WITHOUT_EFFECT, "size": "auto"}
    fixed = ["data"]
    if "model" in values:
        values["model"] = own["model"]
        fixed.append("model")
    put_over(
        values, cfg, overrides,
        lambda key: key in _WITH_RUN or key.replace("/", ".").split(".")[0] not in fixed,
        f"with run= the run's own is used; of {' and '.join(fixed)} only {', '.join(_WITH_RUN)} "
        "may be given",
    )  # fmt: skip
    return typed_values(schema, values), run


def data_overrides(overrides: list[str], run: RunDir | None) -> tuple[str, ...]:
    """Return the overrides with which `pets train` would train on the same photos.

    They are those given, or with a run its own, with the `data.root` that is given now. An
    experiment counts, since it may choose the data; how photos are read does not.
    """
    moved = [override for override in overrides if override.startswith("data.root=")]
    given = overrides if run is None else [*run.overrides, *moved]
    last = {override.partition("=")[0].lstrip("+~"): override for override in given}
    sections = ("data", "experiment")
    return tuple(
        override
        for key, override in last.items()
        if key.split(".")[0] in sections and key not in _READING
    )


def probe_photos(config: ProbeConfig, run: RunDir | None) -> Photos:
    """Set up the process, check the config, and return the training and validation photos.

    Raises:
        ConfigError: A value is wrong.
        DataError: There are no validation photos, or not two classes with two training photos.
    """
    silence_lightning()
    keep_freed_memory()
    memo.use_folder(config.cache_dir)
    # All that can be checked without reading a photo comes first.
    label_rule(config.data.label_from)
    check_trainer(config.trainer)
    check_engine(config.engine, device_type(config.trainer.get("accelerator", "auto")))
    root = config.data.root
    whole = photos_of_run(run, root, TRAIN, VALID) if run else prepare_photos(config.data)
    photos = Photos(whole.root, tuple(whole.of(TRAIN, VALID)))
    _check_enough(photos, root)
    return photos


def _check_enough(photos: Photos, root: str) -> None:
    """Raise DataError if a head cannot be chosen by cross-validation, or its error not measured."""
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


def learner_of(config: ProbeConfig) -> LearnerConfig:
    """Return the config of a training that fits a linear head to precomputed activations."""
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
    """Return the config with another backbone and none of the options for training it."""
    plain = {"head": config.model.head, "lora": None, "grad_checkpointing": False}
    return config.model_copy(update={"model": model.model_copy(update=plain)})


def with_backbone(
    config: LearnerConfig, backbone: Backbone, preprocess: Preprocess, classes: list[str]
) -> tuple[LearnerConfig, Classifier]:
    """Return the config completed with what the weights determine, and the network.

    Raises:
        ConfigError: The backbone does not accept photos of the config's size.
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
    """Return the pooled features and labels of all photos, from the cache or by one pass.

    Raises:
        CacheError: The cache cannot be written.
        DataError: A photo cannot be read.
        ConfigError: The backbone's features are not finite.
    """
    found = activations(config, model, photos, config.data.height_width, build_trainer)[TRAIN]
    index = {name: i for i, name in enumerate(photos.classes)}

    def features_of(rows: list[Photo]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        chosen = torch.tensor([found.rows[content] for content in photos.contents(rows)])
        pooled = model.backbone.from_activations(found.values[chosen, 0].float())
        if not pooled.isfinite().all():
            raise ConfigError(f"{config.model.name}: its features are not finite")
        labels = np.array([index[photo.label] for photo in rows], dtype=np.int64)
        return pooled.double().numpy(), labels

    return Features(*features_of(photos.of(TRAIN)), *features_of(photos.of(VALID)))


def photos_per_second(config: LearnerConfig, model: Classifier, photos: int) -> float:
    """Measure how many photos per second the backbone takes, without loading them.

    Args:
        config: The engine, the size of photos and batches, and the Trainer's arguments.
        model: The network; its backbone is measured.
        photos: Number of photos of the whole pass, on which the choice of `engine=auto` depends.
    """
    shape = (config.data.batch_size, 3, *config.data.height_width)
    batch = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    timing = _Timing(model, config.precompute.engine, photos)
    model.eval()
    with all_threads():
        trainer = build_trainer(config.trainer)
        loader: DataLoader[Tensor] = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
        trainer.predict(timing, loader, return_predictions=False)
    return len(batch) / min(timing.seconds)  # slower ones had to wait for other programs


class _Timing(LightningModule):
    """Times a batch again and again, in the Trainer's precision and on its device."""

    def __init__(self, model: Classifier, engine: str, photos: int) -> None:
        super().__init__()
        self.model, self.engine_name, self.photos = model, engine, photos
        self.seconds: list[float] = []

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        layout, backbone = self.model.config.channels_last, self.model.backbone
        engine = make_engine(self.engine_name, backbone, batch, self.photos, layout)
        engine(batch).flatten()[0].item()  # not timed: the first one allocates memory
        while len(self.seconds) < _LEAST_ROUNDS or (
            sum(self.seconds) < _SECONDS and len(self.seconds) < _MOST_ROUNDS
        ):
            started = time.perf_counter()
            features = engine(batch)
            features.flatten()[0].item()  # waits for an accelerator
            self.seconds.append(time.perf_counter() - started)
        return features
