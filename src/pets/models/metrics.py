"""What is measured on a split; every number that a run reports comes from here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy


class PhotosByClass(Metric):
    """How many photos each class has, over all ranks."""

    photos: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        none = torch.zeros(classes, dtype=torch.long)
        self.add_state("photos", default=none, dist_reduce_fx="sum")

    def update(self, targets: Tensor) -> None:
        self.photos += F.one_hot(targets, len(self.photos)).sum(0)

    def compute(self) -> Tensor:
        return self.photos


class SplitMetrics(nn.Module):
    """Loss and accuracies over the photos of one split; of several ranks each has seen its own."""

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = classes
        self.loss = MeanMetric()
        self.overall = MulticlassAccuracy(len(classes), average="micro")
        self.by_class = MulticlassAccuracy(len(classes), average="none")
        self.photos_by_class = PhotosByClass(len(classes))

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch of logits (B, classes) and class indices (B,)."""
        self.loss.update(F.cross_entropy(logits, targets, reduction="none"))
        self.overall.update(logits, targets)
        self.by_class.update(logits, targets)
        self.photos_by_class.update(targets)

    def compute(self) -> dict[str, Any]:
        """`loss`, `error_rate`, `accuracy`, `mean_class_accuracy` (over the classes that have
        photos), `photos`, and `per_class`: accuracy by name, None for a class without photos."""
        accuracy = float(self.overall.compute())
        by_class, photos = self.by_class.compute().tolist(), self.photos_by_class.compute().tolist()
        seen = [a for a, n in zip(by_class, photos, strict=True) if n]
        return {
            "loss": float(self.loss.compute()),
            "error_rate": 1 - accuracy,
            "accuracy": accuracy,
            "mean_class_accuracy": sum(seen) / len(seen),
            "photos": sum(photos),
            "per_class": {
                name: value if n else None
                for name, value, n in zip(self.classes, by_class, photos, strict=True)
            },
        }

    def reset(self) -> None:
        """Forget everything."""
        for metric in (self.loss, self.overall, self.by_class, self.photos_by_class):
            metric.reset()
