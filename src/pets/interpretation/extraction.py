"""Extraction: one pass of every photo through the network for predictions, Grad-CAM, features,
patches and thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from pets.config import DataConfig
from pets.data.transforms import normalize
from pets.data.views import log_mean
from pets.data.workers import worker_options
from pets.distributed.process_group import all_gather
from pets.distributed.ranks import ranks
from pets.interpretation.dataset import Thumbnails, ViewsDataset, collate
from pets.interpretation.gradcam import GradCam
from pets.interpretation.layers import TopPatches
from pets.models.classifier import Classifier


@dataclass
class Extracted:
    """What a pass computed, by the photo's index in the pass.

    Attributes:
        log_probabilities: (classes,), of the mean over the views.
        by_view: (views,), the class index that each view alone would give.
        features: (C,), the mean of the feature map.
        cams: (2, h', w') in 0..255, Grad-CAM for the predicted and for the actual class.
        sizes: width and height of the photo in pixels.
        problems: why a photo could not be read; it has no other entry.
        thumbnails: small pictures for the report.
    """

    log_probabilities: dict[int, np.ndarray] = field(default_factory=dict)
    by_view: dict[int, np.ndarray] = field(default_factory=dict)
    features: dict[int, np.ndarray] = field(default_factory=dict)
    cams: dict[int, np.ndarray] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    thumbnails: Thumbnails = field(default_factory=Thumbnails)

    @property
    def indices(self) -> list[int]:
        """The photos that could be read, in order."""
        return sorted(self.log_probabilities)

    def gather(self) -> None:
        """Add what the other ranks computed; each photo is on exactly one rank."""
        arrays = ("log_probabilities", "by_view", "features", "cams")
        own: dict[str, Any] = {name: _tensors(getattr(self, name)) for name in arrays}
        own |= {"sizes": self.sizes, "problems": self.problems}
        for other, thumbnails in _from_other_ranks((own, self.thumbnails.items())):
            for name in arrays:
                getattr(self, name).update({k: v.numpy() for k, v in other[name].items()})
            self.sizes |= other["sizes"]
            self.problems |= other["problems"]
            for index, content in thumbnails:
                self.thumbnails.add(index, content)


class Extractor(LightningModule):
    """Fill `extracted` from datasets of photos.

    Args:
        model: the classifier.
        datasets: photos of the first one get Grad-CAMs, and patches are taken from them.
        targets: the class index of every photo, by its index in the pass.
        data: batch size and workers.
        patches: where the strongest patches of each channel are kept, if they are wanted.
    """

    def __init__(
        self,
        model: Classifier,
        datasets: Sequence[ViewsDataset],
        targets: Sequence[int],
        data: DataConfig,
        patches: TopPatches | None = None,
    ) -> None:
        super().__init__()
        self.model, self.datasets, self.data, self.patches = model, datasets, data, patches
        self.cam = GradCam(model.head)
        self.normalize = normalize(model.preprocess)
        self.targets = torch.tensor(targets)
        self.extracted = Extracted()

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Each rank's share; asked for when the ranks know of each other."""
        here = ranks()
        return [
            DataLoader(
                dataset,
                batch_size=max(self.data.batch_size // len(dataset.views.names), 1),
                sampler=range(here.rank, len(dataset), here.world),
                collate_fn=collate,
                **worker_options(self.data.num_workers),
            )
            for dataset in self.datasets
        ]

    def predict_step(
        self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> Tensor:
        extracted, views, indices = self.extracted, batch["views"], batch["indices"].tolist()
        extracted.problems |= batch["problems"]
        if views is None:
            return batch["indices"]
        count = views.shape[1]
        maps = self.model.feature_map(self.normalize(views.flatten(0, 1)))
        logits = self.model.head(maps)
        mean = log_mean(logits, count)
        first = maps[::count].float()
        keep = {
            "log_probabilities": mean,
            "by_view": logits.argmax(1).unflatten(0, (-1, count)),
            "features": first.mean((2, 3)).half(),
        }
        if dataloader_idx == 0:
            actual = self.targets[batch["indices"]].to(first.device)
            cams = [self.cam(first, classes) for classes in (mean.argmax(1), actual)]
            keep["cams"] = (torch.stack(cams, 1) * 255).round().to(torch.uint8)
            if self.patches is not None:
                self.patches.update(views[:, 0], indices, count)
        for name, values in keep.items():
            getattr(extracted, name).update(zip(indices, values.cpu().numpy(), strict=True))
        extracted.sizes.update(zip(indices, batch["sizes"], strict=True))
        for index, thumbnail in zip(indices, batch["thumbnails"], strict=True):
            extracted.thumbnails.add(index, thumbnail)
        return batch["indices"]

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Only the views: Lightning would look at every byte of the thumbnails for tensors."""
        if batch["views"] is None:
            return batch
        return batch | {"views": batch["views"].to(device, non_blocking=True)}


def extract(extractor: Extractor, trainer: Trainer) -> Extracted:
    """Pass all photos through the network; each rank takes its share, and all get the whole."""
    extractor.model.eval()
    with extractor.patches or nullcontext():
        trainer.predict(extractor, return_predictions=False)
    if extractor.patches is not None:
        for others in _from_other_ranks(extractor.patches.exchanged()):
            extractor.patches.merge(others)
    extractor.extracted.gather()
    return extractor.extracted


def _tensors(arrays: dict[int, np.ndarray]) -> dict[int, Tensor]:
    return {place: torch.from_numpy(np.ascontiguousarray(a)) for place, a in arrays.items()}


def _from_other_ranks(own: Any) -> list[Any]:
    """What the other ranks have."""
    rank = ranks().rank
    return [other for index, other in enumerate(all_gather(own)) if index != rank]
