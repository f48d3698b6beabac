"""The data module: photos of a run, fed as batches to Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pets.config import AugmentConfig, DataConfig
from pets.data.activation_dataset import ActivationDataset, Activations
from pets.data.collect import collect_photos
from pets.data.dataset import EpochSampler, PhotoDataset, PhotoFiles
from pets.data.decoded import DecodedPhotos
from pets.data.device_augment import device_augment
from pets.data.photos import Photos
from pets.data.prepare import make_data
from pets.data.splits import TRAIN, VALID
from pets.data.transforms import CentreCrop, Preprocess, normalize, train_pixels
from pets.data.workers import worker_options
from pets.distributed.ranks import ranks
from pets.seeding import derive


class PetsDataModule(LightningDataModule):
    """Batches of (photos (B, 3, height, width), class indices (B,)) for every split.

    Loaders' processes hand over uint8 pixels, a quarter of what floats would be; they become floats
    on the training device. On activations (`feed`) the batches hold those in the place of photos.
    """

    def __init__(
        self,
        config: DataConfig,
        augment: AugmentConfig,
        preprocess: Preprocess,
        photos: Photos,
        seed: int,
    ) -> None:
        super().__init__()
        self.config, self.augment, self.preprocess = config, augment, preprocess
        self.photos, self.seed = photos, seed
        self.normalize = normalize(preprocess)
        self.measured = VALID
        self.begin("")
        self.feed(config.height_width)

    def begin(self, stage: str, epochs: int = 0, batches: int = 0) -> None:
        """The stage that the next training batches are for: each has random streams of its own.

        So many `epochs` of it are done, and so many `batches` of the one after them.
        """
        self.stage, self.epochs, self.batches = stage, epochs, batches

    def feed(
        self,
        size: tuple[int, int],
        activations: Mapping[str, Activations] | None = None,
        decoded: DecodedPhotos | None = None,
    ) -> None:
        """What the next batches are made of: photos of a size (height, width), from files or
        decoded ones; or activations by split."""
        self.size, self.activations, self.decoded = size, activations, decoded
        self.on_device = None
        if decoded is not None:
            self.on_device = device_augment(self.augment, size, self.preprocess, decoded.side)

    def train_dataloader(self) -> DataLoader[Any]:
        """In an order of its own every epoch; photos are augmented."""
        dataset = self._dataset(TRAIN)
        here, length = ranks(), len(dataset)  # type: ignore[arg-type]
        seed, batch = derive(self.seed, "stage", self.stage), self.config.batch_size
        drawn = self.batches * batch
        sampler = EpochSampler(length, seed, here.rank, here.world, self.epochs, drawn)
        return DataLoader(
            dataset,
            batch,
            sampler=sampler,
            # A last batch of one photo would break batch norm, and a small one is noisy.
            drop_last=len(sampler) >= batch,
            **self._options(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return self.eval_dataloader(VALID)

    def test_dataloader(self) -> DataLoader[Any]:
        """The split that is to be `measured`."""
        return self.eval_dataloader(self.measured)

    def eval_dataloader(self, split: str) -> DataLoader[Any]:
        """Every photo of a split once, in the table's order, not augmented; of several ranks each
        has every `ranks`-th, so that no photo counts twice."""
        here, dataset = ranks(), self._dataset(split)
        share = range(here.rank, len(dataset), here.world)  # type: ignore[arg-type]
        return DataLoader(dataset, self.config.batch_size, sampler=share, **self._options())

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Pixels to what the network expects, on its device."""
        inputs, targets = batch
        if self.activations is not None:
            return inputs, targets
        if isinstance(inputs, list):  # of crops and random numbers
            assert self.on_device is not None
            return self.on_device(*inputs), targets
        return self.normalize(inputs), targets

    def _dataset(self, split: str) -> Dataset[Any]:
        rows = self.photos.of(split)
        index = {label: place for place, label in enumerate(self.photos.classes)}
        targets = [index[photo.label] for photo in rows]
        if self.activations is not None:
            return ActivationDataset(self.activations[split], self.photos.contents(rows), targets)
        photos: Sequence[Tensor] = (
            PhotoFiles([self.photos.root / photo.path for photo in rows])
            if self.decoded is None
            else self.decoded.of(self.photos.contents(rows))
        )
        chain: Callable[[Tensor], Any] = CentreCrop(self.size, self.preprocess)
        if split == TRAIN and self.on_device is not None:
            chain = self.on_device.draw
        elif split == TRAIN:
            chain = train_pixels(self.augment, self.size, self.preprocess)
        return PhotoDataset(photos, targets, chain)

    def _options(self) -> dict[str, Any]:
        if self.activations is not None:
            # A batch is read from memory whole: there is nothing for other processes to do.
            return {"collate_fn": _as_it_is}
        trainer = self.trainer
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        return {**worker_options(self.config.num_workers), "pin_memory": on_gpu}


def _as_it_is(batch: Any) -> Any:
    return batch


def prepare_photos(config: DataConfig) -> Photos:
    """Make or fetch the data where it is not there yet, then collect its photos.

    A folder that exists is used as it is. Raises DataError.
    """
    make_data(config)
    return collect_photos(config)
