"""Activations of a run's photos: from the cache, or computed in one pass through the backbone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from importlib.metadata import version
from math import prod
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from pets.cache.store import Store
from pets.callbacks.progress import ProgressBar
from pets.config import LearnerConfig, ModelConfig
from pets.config.instantiate import imported
from pets.data.activation_dataset import VALUES, Activations
from pets.data.content_hash import hash_of_set, write_contents
from pets.data.dataset import PhotoFiles
from pets.data.photos import SPLITS, Photo, Photos
from pets.data.splits import TRAIN
from pets.data.transforms import CentreCrop, normalize, train_pixels
from pets.data.workers import worker_options
from pets.distributed.lightning import single_process
from pets.distributed.ranks import ranks
from pets.features.engine import Engine, make_engine
from pets.models.classifier import Classifier, size_of
from pets.seeding import derive, torch_stream
from pets.system.devices import all_threads, device_type, resolve_precision

KIND, FORMAT = "activations", 1
# Which others may give other pixels or other numbers.
_VERSIONS = ("torch", "torchvision", "timm", "pillow", "simplejpeg")


class AugmentedViews(Dataset[Tensor]):
    """Views (V, 3, h, w), uint8, of a photo by its index: one per seed; the photo is read once."""

    def __init__(
        self, photos: Sequence[Tensor], chain: v2.Transform, seeds: Sequence[Sequence[int]]
    ) -> None:
        self.photos, self.chain, self.seeds = photos, chain, seeds

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:
        photo, views = self.photos[index], []
        for seed in self.seeds[index]:
            with torch_stream(seed):
                views.append(self.chain(photo))
        return torch.stack(views)


def seeds_of_views(contents: Sequence[bytes], views: int) -> list[list[int]]:
    """Return a seed for every view of every photo; they depend only on the photo's content, so that
    all runs share the views."""
    return [[derive(0, "view", content.hex(), v) for v in range(views)] for content in contents]


class RowWriter:
    """Rows (views, ...) appended to a .npy file whose size is known from the start.

    Uses write() rather than mmap: a full disk then raises OSError instead of killing the process
    with SIGBUS.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype, self.written = shape, np.dtype(dtype), 0
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        self.stream = (folder / VALUES).open("wb")
        np.lib.format.write_array_header_1_0(self.stream, header)

    def write(self, rows: np.ndarray) -> None:
        self.stream.write(np.ascontiguousarray(rows, self.dtype).data)
        self.written += len(rows)

    def close(self) -> None:
        self.stream.close()


class FeaturePass(LightningModule):
    """Writes the backbone's activations of each photo.

    Args:
        model: The classifier.
        engine: Name of the engine that computes the activations.
        photos: Number of photos in the pass.
        rows: Where the activations are written.
    """

    def __init__(self, model: Classifier, engine: str, photos: int, rows: RowWriter) -> None:
        super().__init__()
        self.model, self.rows = model, rows
        self.engine_name, self.photos = engine, photos
        self.engine: Engine | None = None
        self.normalize = normalize(model.preprocess)

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        photos, model = self.normalize(batch.flatten(0, 1)), self.model
        if self.engine is None:  # created here, where the backbone is on its device
            channels_last = model.config.channels_last
            self.engine = make_engine(
                self.engine_name, model.backbone, photos, self.photos, channels_last
            )
        # In the precision of the backbone's output, as if the head were trained on photos.
        features = model.backbone.activations(self.engine(photos), size_of(photos)).float()
        self.rows.write(features.reshape(*batch.shape[:2], *features.shape[1:]).cpu().numpy())
        return features  # Lightning warns about None


def run_pass(
    config: LearnerConfig,
    model: Classifier,
    views: AugmentedViews,
    rows: RowWriter,
    trainer: Callable[..., Trainer],
) -> None:
    """Run every photo through the backbone once, in order. `trainer` is a Trainer factory.

    Raises:
        DataError: A photo cannot be read.
        OSError: The disk is full.
    """
    per_photo = len(views.seeds[0])
    bar = [ProgressBar()] if ranks().writer else []
    passing = trainer(single_process(config.trainer), callbacks=bar)
    on_gpu = passing.strategy.root_device.type == "cuda"
    options = {**worker_options(config.data.num_workers), "pin_memory": on_gpu}
    loader = DataLoader(views, max(config.data.batch_size // per_photo, 1), **options)
    through = FeaturePass(model, config.precompute.engine, len(views) * per_photo, rows)
    try:
        model.eval()
        with all_threads():
            passing.predict(through, loader, return_predictions=False)
    finally:
        rows.close()


def activations(
    config: LearnerConfig,
    model: Classifier,
    photos: Photos,
    size: tuple[int, int],
    trainer: Callable[..., Trainer],
) -> dict[str, Activations]:
    """Return the activations of every split's photos, resized to `size` (height, width).

    With `precompute.views`, training photos get that many augmented views; otherwise they are
    preprocessed like validation photos. `trainer` is a Trainer factory.

    Raises:
        CacheError: The cache cannot be written.
        DataError: A photo cannot be read.
    """
    load = partial(_load_or_compute, config, model, photos, size, trainer)
    views = config.precompute.views
    if not views:
        return dict.fromkeys(SPLITS, load(photos.rows, 0))
    held_out = photos.of(*(split for split in SPLITS if split != TRAIN))
    return {**dict.fromkeys(SPLITS, load(held_out, 0)), TRAIN: load(photos.of(TRAIN), views)}


def _load_or_compute(
    config: LearnerConfig,
    model: Classifier,
    photos: Photos,
    size: tuple[int, int],
    trainer: Callable[..., Trainer],
    rows: Sequence[Photo],
    views: int,
) -> Activations:
    """Return the activations of `rows`: `views` augmented views of each photo, or one unaugmented
    view if 0."""
    settings, backbone = config.precompute, model.backbone
    by_content = dict(zip(photos.contents(rows), rows, strict=True))
    contents = sorted(by_content)
    shape = (len(contents), max(views, 1), *backbone.shape_of(size))

    def make(folder: Path) -> None:
        write_contents(folder, contents)
        files = PhotoFiles([photos.root / by_content[content].path for content in contents])
        plain = CentreCrop(size, model.preprocess)
        chain = train_pixels(config.augment, size, model.preprocess) if views else plain
        viewed = AugmentedViews(files, chain, seeds_of_views(contents, max(views, 1)))
        run_pass(config, model, viewed, RowWriter(folder, shape, settings.dtype), trainer)

    precision = resolve_precision(config.trainer).get("precision")
    augment = config.augment.model_dump(by_alias=True, mode="json", exclude={"batch"})
    about = model.config.model_dump(include={"library", "name", "args", "lora", "channels_last"})
    about |= digest_of_module(model.config)
    key = {
        "photos": hash_of_set(contents),
        "views": views,
        "format": FORMAT,
        "size": size,
        "preprocess": model.preprocess.as_dict(),
        "augment": augment if views else None,
        "backbone": {**about, "weights": digest_of_weights(backbone)},
        "pooling": "concat" if backbone.pooling == "avg" else backbone.pooling,
        "engine": settings.engine,
        "dtype": settings.dtype,
        "precision": precision,
        "device": device_type(config.trainer.get("accelerator", "auto")),
        "versions": {name: version(name) for name in _VERSIONS},
    }
    inputs = f"{views} views of {len(rows):,} photos" if views else f"{len(rows):,} photos"
    description = (
        f"activations of {inputs} ({model.config.name}, {size[0]} x {size[1]} pixels, {precision}, "
        f"{settings.engine}, {settings.dtype})"
    )
    expected_bytes = prod(shape) * np.dtype(settings.dtype).itemsize
    store = Store(config.cache_dir)
    return store.get(KIND, key, description, expected_bytes, make, Activations.load)


def digest_of_weights(backbone: nn.Module) -> str:
    """Return a hash of all tensors of a network, with their names."""
    whole = blake2b(digest_size=16)
    for name, tensor in backbone.state_dict().items():
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return whole.hexdigest()


def digest_of_module(config: ModelConfig) -> dict[str, str]:
    """Return a hash of the file of `model.module`, if there is one.

    With the same weights, changed code may compute something else.
    """
    if config.module is None:
        return {}
    file = Path(inspect.getfile(imported("model.module", config.module)))
    return {"module": blake2b(file.read_bytes(), digest_size=16).hexdigest()}
