"""One pass of every photo through the network.

It extracts predictions, Grad-CAM, features, patches and thumbnails.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pets.config import DataConfig
from pets.data.images import UnreadableImage, open_pixels
from pets.data.transforms import normalize, to_tensor
from pets.data.views import Views, log_mean
from pets.data.workers import worker_options
from pets.interpretation.gradcam import grad_cam
from pets.interpretation.layers import TopPatches
from pets.io.pictures import jpeg
from pets.models.classifier import Classifier

THUMBNAIL = 192  # pixels of the longer side: enough to tell breeds apart, about 8 kB


class Thumbnails:
    """Thumbnails by index, kept on disk until the report selects some of them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - gone with the object
        self._where: dict[int, tuple[int, int]] = {}

    def __setitem__(self, index: int, content: bytes) -> None:
        self._where[index] = (self._file.seek(0, io.SEEK_END), len(content))
        self._file.write(content)

    def __getitem__(self, index: int) -> bytes:
        start, length = self._where[index]
        self._file.seek(start)
        return self._file.read(length)


@dataclass
class Extracted:
    """What a pass computed, by the photo's index in the pass.

    Attributes:
        log_probabilities: (classes,), averaged over the views.
        by_view: (views,), the class index predicted from each single view.
        features: (C,), as pooled by the network itself, or the mean of the feature map.
        cams: (2, h', w') in 0..255, Grad-CAM for the predicted and for the actual class; none if
            the network has no map to credit.
        sizes: Width and height of the photo in pixels.
        problems: Why a photo could not be read; it has no other entry.
        thumbnails: Thumbnails for the report.
    """

    log_probabilities: dict[int, Tensor] = field(default_factory=dict)
    by_view: dict[int, Tensor] = field(default_factory=dict)
    features: dict[int, Tensor] = field(default_factory=dict)
    cams: dict[int, Tensor] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    thumbnails: Thumbnails = field(default_factory=Thumbnails)

    @property
    def indices(self) -> list[int]:
        """The indices of the readable photos, in order."""
        return sorted(self.log_probabilities)


class ViewsDataset(Dataset[dict[str, Any]]):
    """The photos of one pass, by their indices in it.

    Each is read once, as views for the network and as a thumbnail for the report. An unreadable
    photo has a `problem` instead.
    """

    def __init__(self, paths: Sequence[Path], indices: Sequence[int], views: Views) -> None:
        self.paths, self.indices, self.views = paths, indices, views

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> dict[str, Any]:
        try:
            photo = to_tensor(open_pixels(self.paths[item]))
        except UnreadableImage as error:
            return {"index": self.indices[item], "problem": str(error)}
        views = self.views(photo)
        return {
            "index": self.indices[item],
            "views": views,
            "thumbnail": jpeg(views[0], THUMBNAIL),
            "size": (photo.shape[2], photo.shape[1]),
        }


def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Collate the photos of a batch: `views`, `indices`, `thumbnails`, `sizes` and `problems`.

    `views` (B, V, 3, h, w) are those of the readable photos, None if there is none; `problems` are
    by index.
    """
    good = [row for row in rows if "views" in row]
    return {
        "views": torch.stack([row["views"] for row in good]) if good else None,
        "indices": [row["index"] for row in good],
        "thumbnails": [row["thumbnail"] for row in good],
        "sizes": [row["size"] for row in good],
        "problems": {row["index"]: row["problem"] for row in rows if "problem" in row},
    }


class Extractor(LightningModule):
    """Fill `extracted` from datasets of photos.

    Args:
        model: The classifier.
        datasets: The first one's photos get Grad-CAMs and provide the patches.
        targets: The class index of every photo, by its index in the pass.
        data: Batch size and workers.
        patches: Collects the strongest patches of each channel, if given.
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
        self.cam = grad_cam(model)
        self.normalize = normalize(model.preprocess)
        self.targets = torch.tensor(targets)
        self.extracted = Extracted()

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        return [
            DataLoader(
                dataset,
                batch_size=max(self.data.batch_size // len(dataset.views.names), 1),
                collate_fn=collate,
                **worker_options(self.data.num_workers),
            )
            for dataset in self.datasets
        ]

    def predict_step(
        self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> list[int]:
        extracted, views, indices = self.extracted, batch["views"], batch["indices"]
        extracted.problems |= batch["problems"]
        if views is None:
            return indices
        count = views.shape[1]
        backbone, size = self.model.backbone, (views.shape[3], views.shape[4])
        features = self.model.features(self.normalize(views.flatten(0, 1)))
        pooled = backbone.pool(features, size)
        logits = self.model.head(pooled)
        mean, first = log_mean(logits, count), features[::count].float()
        by_itself = backbone.pooling in ("own", "token")
        vector = pooled[::count].float() if by_itself else backbone.as_map(first, size).mean((2, 3))
        computed = {
            "log_probabilities": mean,
            "by_view": logits.argmax(1).unflatten(0, (-1, count)),
            "features": vector.half(),
        }
        if dataloader_idx == 0:
            if self.cam is not None:
                actual = self.targets[indices].to(first.device)
                cams = [self.cam(first, classes, size) for classes in (mean.argmax(1), actual)]
                computed["cams"] = (torch.stack(cams, 1) * 255).round().to(torch.uint8)
            if self.patches is not None:
                self.patches.update(views[:, 0], indices, count)
        for name, values in computed.items():
            getattr(extracted, name).update(zip(indices, values.cpu(), strict=True))
        extracted.sizes.update(zip(indices, batch["sizes"], strict=True))
        for index, thumbnail in zip(indices, batch["thumbnails"], strict=True):
            extracted.thumbnails[index] = thumbnail
        return indices  # Lightning warns about None

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Transfer only the views: Lightning would search the thumbnails for tensors."""
        if batch["views"] is None:
            return batch
        return batch | {"views": batch["views"].to(device, non_blocking=True)}


def extract(extractor: Extractor, trainer: Trainer) -> Extracted:
    """Pass all photos through the network."""
    extractor.model.eval()
    with extractor.patches or nullcontext():
        trainer.predict(extractor, return_predictions=False)
    return extractor.extracted
