"""One pass of photos through a frozen backbone; what comes out goes to disk row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from pets.callbacks.progress import ProgressBar
from pets.config import LearnerConfig
from pets.data.activation_dataset import VALUES
from pets.data.transforms import normalize
from pets.data.workers import worker_options
from pets.distributed.lightning import single_process
from pets.distributed.ranks import ranks
from pets.features.engine import Engine, make_engine
from pets.models.classifier import Classifier
from pets.models.heads import pool
from pets.seeding import derive, torch_stream
from pets.system.devices import all_threads

# Of the Trainer's arguments those that would end a pass early.
_LIMITS: dict[str, Any] = {"fast_dev_run": False, "limit_predict_batches": None, "max_time": None}


class ViewsDataset(Dataset[Tensor]):
    """Views (V, 3, h, w) uint8 of a photo by its place: augmented ones of given seeds, from a photo
    that is read once."""

    def __init__(
        self, photos: Sequence[Tensor], chain: v2.Transform, seeds: Sequence[Sequence[int]]
    ) -> None:
        self.photos, self.chain, self.seeds = photos, chain, seeds

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, place: int) -> Tensor:
        photo, views = self.photos[place], []
        for seed in self.seeds[place]:
            with torch_stream(seed):
                views.append(self.chain(photo))
        return torch.stack(views)


def seeds_of_views(contents: Sequence[bytes], views: int) -> list[list[int]]:
    """A seed for every view of every photo; they depend on the photo's content alone, so that all
    runs share the views."""
    return [[derive(0, "view", content.hex(), v) for v in range(views)] for content in contents]


class FeaturePass(LightningModule):
    """Writes what the backbone gives for each photo, as far as the classifier's `cut` says.

    `engine` is the name of what computes it, `photos` how many will pass.
    """

    def __init__(self, model: Classifier, engine: str, photos: int, rows: RowWriter) -> None:
        super().__init__()
        self.model, self.rows = model, rows
        self.engine_name, self.photos = engine, photos
        self.engine: Engine | None = None
        self.normalize = normalize(model.preprocess)

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        photos = self.normalize(batch.flatten(0, 1))
        if self.engine is None:  # made here, where the backbone is on its device
            channels_last = self.model.config.channels_last
            self.engine = make_engine(
                self.engine_name, self.model.backbone, photos, self.photos, channels_last
            )
        maps = self.engine(photos)
        # Pooled as the head would pool it, in the precision that the backbone gives.
        found = (pool(maps) if self.model.cut == "pooled" else maps).float()
        self.rows.write(found.reshape(*batch.shape[:2], *found.shape[1:]).cpu().numpy())
        return found


class RowWriter:
    """Rows (views, ...) appended to a .npy file whose size is known from the start.

    Written, not mapped: a full disk is then an error and not the end of the process.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype, self.written = shape, np.dtype(dtype), 0
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": self.shape,
        }
        self.stream = (folder / VALUES).open("wb")
        np.lib.format.write_array_header_1_0(self.stream, header)

    def write(self, rows: np.ndarray) -> None:
        self.stream.write(np.ascontiguousarray(rows, self.dtype).data)
        self.written += len(rows)

    def close(self) -> None:
        self.stream.close()


def run_pass(
    config: LearnerConfig,
    model: Classifier,
    views: ViewsDataset,
    rows: RowWriter,
    trainer: Callable[..., Trainer],
) -> None:
    """Every photo once, in order, by a Trainer that `trainer` makes from the config's values.

    Raises DataError for a photo that cannot be read, and OSError if the disk is full.
    """
    per_photo = len(views.seeds[0])
    photos_a_batch = max(config.data.batch_size // per_photo, 1)
    values = {**single_process(config.trainer), **_LIMITS}
    passing = trainer(values, callbacks=[ProgressBar()] if ranks().writer else [])
    on_gpu = passing.strategy.root_device.type == "cuda"
    options = {**worker_options(config.data.num_workers), "pin_memory": on_gpu}
    loader = DataLoader(views, photos_a_batch, **options)
    through = FeaturePass(model, config.precompute.engine, len(views) * per_photo, rows)
    try:
        model.eval()
        with all_threads():
            passing.predict(through, loader, return_predictions=False)
    finally:
        rows.close()
    if rows.written != len(views):
        raise RuntimeError(f"{rows.written} of {len(views)} photos passed through the backbone")
