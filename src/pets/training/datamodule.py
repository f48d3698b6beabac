"""The data module: photos of a run, or their activations, as batches for Lightning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from pets.config import AugmentConfig, DataConfig
from pets.data.activation_dataset import ActivationDataset
from pets.data.dataset import EpochSampler, PhotoDataset, PhotoFiles
from pets.data.device_augment import device_augment
from pets.data.photos import Photos
from pets.data.splits import TRAIN, VALID
from pets.data.transforms import CentreCrop, Preprocess, normalize, train_pixels
from pets.data.workers import worker_options
from pets.distributed.ranks import ranks
from pets.training.stage import Inputs, Stage


class PetsDataModule(LightningDataModule):
    """Batches of (photos (B, 3, height, width), class indices (B,)) for every split.

    Workers return uint8 pixels, a quarter of the size of floats; they are converted on the training
    device. If the inputs are activations, batches contain those instead of photos. Nothing is read
    before a loader is requested. Without a stage there are only evaluation batches.
    """

    def __init__(
        self,
        config: DataConfig,
        augment: AugmentConfig,
        preprocess: Preprocess,
        photos: Photos,
        inputs: Inputs,
        stage: Stage | None = None,
    ) -> None:
        super().__init__()
        self.config, self.augment, self.preprocess = config, augment, preprocess
        self.photos, self.inputs, self.stage = photos, inputs, stage
        self.normalize = normalize(preprocess)
        self.measured = VALID
        self.on_device = None
        if inputs.decoded is not None:
            side = inputs.decoded.side
            self.on_device = device_augment(augment, inputs.size, preprocess, side)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return augmented photos, in a different order every epoch."""
        stage = self.stage
        assert stage is not None, "only a stage has training batches"
        here, batch, dataset = ranks(), self.config.batch_size, self._dataset(TRAIN)
        sampler = EpochSampler(
            dataset.targets, stage.order_seed, here.rank, here.world,
            epoch=stage.epochs_done, drawn=stage.batches_done * batch, kind=self.config.sampler,
        )  # fmt: skip
        # Batch norm fails on a last batch of one photo, and small batches are noisy.
        drop_last = len(sampler) >= batch
        return DataLoader(dataset, batch, sampler=sampler, drop_last=drop_last, **self._options())

    def val_dataloader(self) -> DataLoader[Any]:
        return self.eval_dataloader(VALID)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the photos of the split in `measured`."""
        return self.eval_dataloader(self.measured)

    def eval_dataloader(self, split: str) -> DataLoader[Any]:
        """Return every photo of a split once, in the table's order, unaugmented.

        Each rank gets every `world`-th photo, so that none counts twice.
        """
        here, dataset = ranks(), self._dataset(split)
        share = range(here.rank, len(dataset), here.world)
        return DataLoader(dataset, self.config.batch_size, sampler=share, **self._options())

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Convert pixels to the network's input on the device."""
        inputs, targets = batch
        if self.inputs.activations is not None:
            return inputs, targets
        if isinstance(inputs, list):  # of crops and random numbers
            assert self.on_device is not None
            return self.on_device(*inputs), targets
        return self.normalize(inputs), targets

    def _dataset(self, split: str) -> PhotoDataset | ActivationDataset:
        rows, size, decoded = self.photos.of(split), self.inputs.size, self.inputs.decoded
        index = {label: i for i, label in enumerate(self.photos.classes)}
        targets = [index[photo.label] for photo in rows]
        if self.inputs.activations is not None:
            activations = self.inputs.activations[split]
            return ActivationDataset(activations, self.photos.contents(rows), targets)
        photos: Sequence[Tensor] = (
            PhotoFiles([self.photos.root / photo.path for photo in rows])
            if decoded is None
            else decoded.of(self.photos.contents(rows))
        )
        chain: Callable[[Tensor], Any] = CentreCrop(size, self.preprocess)
        if split == TRAIN and self.on_device is not None:
            chain = self.on_device.draw
        elif split == TRAIN:
            chain = train_pixels(self.augment, size, self.preprocess)
        return PhotoDataset(photos, targets, chain)

    def _options(self) -> dict[str, Any]:
        if self.inputs.activations is not None:
            # Batches are read from memory at once: workers would not help.
            return {"collate_fn": _unchanged}
        trainer = self.trainer
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        return {**worker_options(self.config.num_workers), "pin_memory": on_gpu}


def _unchanged(batch: Any) -> Any:
    return batch
