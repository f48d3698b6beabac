"""The data module: photos of a run, fed as batches to Lightning."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import LightningDataModule
from torch import distributed as dist
from torch.utils.data import DataLoader

from pets.config import AugmentConfig, DataConfig
from pets.data.dataset import EpochSampler, PhotoDataset
from pets.data.photos import Photos, collect_photos
from pets.data.splits import TEST, TRAIN, VALID
from pets.data.transforms import Preprocess, eval_transform, train_transform
from pets.seeding import derive
from pets.targets import build

log = logging.getLogger(__name__)


class PetsDataModule(LightningDataModule):
    """Batches of (photos (B, 3, height, width), class indices (B,)) for every split."""

    def __init__(
        self,
        config: DataConfig,
        augment: AugmentConfig,
        preprocess: Preprocess,
        photos: Photos,
        seed: int,
    ) -> None:
        super().__init__()
        self.config, self.photos, self.seed = config, photos, seed
        self.stage = ""
        self.train_chain = train_transform(augment, config.height_width, preprocess)
        self.eval_chain = eval_transform(config.height_width, preprocess)

    def begin(self, stage: str) -> None:
        """The stage that the next training batches are for: each has random streams of its own."""
        self.stage = stage

    def dataset(self, split: str, chain: Any) -> PhotoDataset:
        """The photos of one split with a transform."""
        rows = self.photos.of(split)
        index = {label: place for place, label in enumerate(self.photos.classes)}
        paths = [self.photos.root / photo.path for photo in rows]
        return PhotoDataset(paths, [index[photo.label] for photo in rows], chain)

    def train_dataloader(self) -> DataLoader[Any]:
        """Augmented, in an order of its own every epoch."""
        dataset = self.dataset(TRAIN, self.train_chain)
        spread = dist.is_available() and dist.is_initialized()
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if spread else (0, 1)
        sampler = EpochSampler(len(dataset), derive(self.seed, "stage", self.stage), rank, ranks)
        return DataLoader(
            dataset,
            self.config.batch_size,
            sampler=sampler,
            # A last batch of one photo would break batch norm, and a small one is noisy.
            drop_last=len(sampler) >= self.config.batch_size,
            **self._workers(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return self.eval_dataloader(VALID)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.eval_dataloader(TEST)

    def eval_dataloader(self, split: str) -> DataLoader[Any]:
        """Every photo of a split once, in the table's order, not augmented."""
        dataset = self.dataset(split, self.eval_chain)
        return DataLoader(dataset, self.config.batch_size, **self._workers())

    def _workers(self) -> dict[str, Any]:
        return worker_options(self.config.num_workers)


def worker_options(num_workers: int | Literal["auto"]) -> dict[str, Any]:
    """DataLoader's arguments for a number of worker processes, or one chosen for this machine."""
    count = automatic_workers() if num_workers == "auto" else num_workers
    return {"num_workers": count, "persistent_workers": count > 0}


def automatic_workers() -> int:
    """As many processes as there are spare cores, at most 8.

    With one or two cores the training itself keeps them busy: more processes only change places.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 0 if (cores or 1) <= 2 else min((cores or 1) - 1, 8)


def prepare_photos(config: DataConfig) -> Photos:
    """Make or fetch the data where it is not there yet, then collect its photos.

    A folder that exists is used as it is. Raises DataError.
    """
    root = Path(config.root)
    if not root.exists() and config.prepare is not None:
        log.info("%s is not there yet: %s", root, config.prepare.target.rpartition(".")[2])
        root.parent.mkdir(parents=True, exist_ok=True)
        build("data.prepare", config.prepare, root=root)
    return collect_photos(config)
