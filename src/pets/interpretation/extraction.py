"""One pass of every photo through the backbone: predictions, Grad-CAM, features, patches."""

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
from pets.interpretation.dataset import SeenPhotos, Thumbnails, as_batch
from pets.interpretation.gradcam import GradCam
from pets.interpretation.layers import TopPatches
from pets.models.classifier import Classifier


@dataclass
class Observed:
    """What a pass found, by a photo's place in it; `problems` says why a photo is in none.

    `log_probabilities` (classes,) of the mean over the views, `by_view` the class index that each
    view alone would give, `features` (C,) the mean of the feature map, `cams` (2, h', w') in 0..255
    for the predicted and for the actual class, `sizes` width and height of the photo itself.
    """

    log_probabilities: dict[int, np.ndarray] = field(default_factory=dict)
    by_view: dict[int, np.ndarray] = field(default_factory=dict)
    features: dict[int, np.ndarray] = field(default_factory=dict)
    cams: dict[int, np.ndarray] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    thumbnails: Thumbnails = field(default_factory=Thumbnails)

    @property
    def places(self) -> list[int]:
        """The photos that could be read, in order."""
        return sorted(self.log_probabilities)

    def gather(self) -> None:
        """Put what the other ranks found among this one's: each photo is in exactly one of them."""
        arrays = ("log_probabilities", "by_view", "features", "cams")
        own: dict[str, Any] = {name: _tensors(getattr(self, name)) for name in arrays}
        own |= {"sizes": self.sizes, "problems": self.problems}
        for found, thumbnails in _from_other_ranks((own, self.thumbnails.items())):
            for name in arrays:
                getattr(self, name).update({k: v.numpy() for k, v in found[name].items()})
            self.sizes |= found["sizes"]
            self.problems |= found["problems"]
            for place, content in thumbnails:
                self.thumbnails.add(place, content)


class Observer(LightningModule):
    """Fills `found` from its data sets; the photos of the first one get Grad-CAMs and go through
    `patches`. `targets` are the class indices of all photos, by place."""

    def __init__(
        self,
        model: Classifier,
        datasets: Sequence[SeenPhotos],
        targets: Sequence[int],
        data: DataConfig,
        patches: TopPatches | None = None,
    ) -> None:
        super().__init__()
        self.model, self.datasets, self.data, self.patches = model, datasets, data, patches
        self.cam = GradCam(model.head)
        self.normalize = normalize(model.preprocess)
        self.targets = torch.tensor(targets)
        self.found = Observed()

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Each rank's share; asked for when the ranks know of each other."""
        here = ranks()
        return [
            DataLoader(
                dataset,
                batch_size=max(self.data.batch_size // len(dataset.views.names), 1),
                sampler=range(here.rank, len(dataset), here.world),
                collate_fn=as_batch,
                **worker_options(self.data.num_workers),
            )
            for dataset in self.datasets
        ]

    def predict_step(
        self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> Tensor:
        found, views, places = self.found, batch["views"], batch["places"].tolist()
        found.problems |= batch["problems"]
        if views is None:
            return batch["places"]
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
            actual = self.targets[batch["places"]].to(first.device)
            cams = [self.cam(first, classes) for classes in (mean.argmax(1), actual)]
            keep["cams"] = (torch.stack(cams, 1) * 255).round().to(torch.uint8)
            if self.patches is not None:
                self.patches.update(views[:, 0], places, count)
        for name, values in keep.items():
            getattr(found, name).update(zip(places, values.cpu().numpy(), strict=True))
        found.sizes.update(zip(places, batch["sizes"], strict=True))
        for place, thumbnail in zip(places, batch["thumbnails"], strict=True):
            found.thumbnails.add(place, thumbnail)
        return batch["places"]

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Only the views: Lightning would look at every byte of the thumbnails for tensors."""
        if batch["views"] is None:
            return batch
        return batch | {"views": batch["views"].to(device, non_blocking=True)}


def observe(observer: Observer, trainer: Trainer) -> Observed:
    """Pass all photos through; under several ranks each takes its share, and all get all."""
    observer.model.eval()
    with observer.patches or nullcontext():
        trainer.predict(observer, return_predictions=False)
    if observer.patches is not None:
        for others in _from_other_ranks(observer.patches.exchanged()):
            observer.patches.merge(others)
    observer.found.gather()
    return observer.found


def _tensors(arrays: dict[int, np.ndarray]) -> dict[int, Tensor]:
    return {place: torch.from_numpy(np.ascontiguousarray(a)) for place, a in arrays.items()}


def _from_other_ranks(own: Any) -> list[Any]:
    """What the other ranks have."""
    rank = ranks().rank
    return [other for index, other in enumerate(all_gather(own)) if index != rank]
