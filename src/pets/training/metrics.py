"""What is measured on a split; every number that a run reports comes from here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
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


class Temperature(Metric):
    """The temperature, 0.05 to 20, by which logits are to be divided so that the labels are most
    probable (Guo et al. 2017): of all photos of all ranks, without keeping their logits.

    The loss is summed at fixed temperatures; the lowest point of a spline through them is taken.
    """

    losses: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.logs = torch.linspace(math.log(0.05), math.log(20), 33)
        self.add_state("losses", default=torch.zeros(len(self.logs)), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        temperatures = self.logs.exp().to(logits.device)
        scaled = logits.float() / temperatures[:, None, None]
        right = scaled[:, torch.arange(len(targets), device=targets.device), targets]
        self.losses += (scaled.logsumexp(2) - right).sum(1)

    def compute(self) -> Tensor:
        if not self.losses.isfinite().all():  # a network that diverged has none
            return torch.tensor(torch.nan)
        curve = CubicSpline(self.logs.numpy(), self.losses.double().cpu().numpy())
        level = curve.derivative().roots(extrapolate=False)
        places = [*self.logs.tolist(), *level[np.isfinite(level)]]
        return torch.tensor(math.exp(min(places, key=curve)))


class SplitMetrics(nn.Module):
    """Loss and accuracies over the photos of one split; of several ranks each has seen its own."""

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = classes
        self.loss = MeanMetric()
        self.overall = MulticlassAccuracy(len(classes), average="micro")
        self.by_class = MulticlassAccuracy(len(classes), average="none")
        self.photos_by_class = PhotosByClass(len(classes))
        self.temperature = Temperature()

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch of logits (B, classes) and class indices (B,)."""
        self.loss.update(F.cross_entropy(logits, targets, reduction="none"))
        self.overall.update(logits, targets)
        self.by_class.update(logits, targets)
        self.photos_by_class.update(targets)
        self.temperature.update(logits, targets)

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
        for metric in self.children():
            assert isinstance(metric, Metric)
            metric.reset()
