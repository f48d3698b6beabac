"""Metrics measured on a split; new ones are added to `METRICS`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from pets.registry import Registry


@dataclass(frozen=True)
class SplitMetric:
    """A metric of a split, and how it is shown.

    Attributes:
        name: The key in `status.json` and `eval/*.json`, and in TensorBoard.
        doc: One-line description.
        make: Maps the number of classes to a torchmetrics `Metric`. Its `update` gets logits
            (B, classes) and class indices (B,), its `compute` returns a scalar over all ranks.
        is_share: Whether it is from 0 to 1 and shown in percent.
        in_epoch_table: Whether it is logged after each epoch.
        column: The column of `metrics.csv`; by default the name.
    """

    name: str
    doc: str
    make: Callable[[int], Metric]
    is_share: bool = True
    in_epoch_table: bool = True
    column: str = ""

    def __post_init__(self) -> None:
        if not self.column:
            object.__setattr__(self, "column", self.name)

    def show(self, value: float) -> str:
        """Format the value: `91.50 %` for a share, else four decimals."""
        return f"{100 * value:.2f} %" if self.is_share else f"{value:.4f}"


METRICS: Registry[SplitMetric] = Registry()


def epoch_columns() -> list[str]:
    """Return the columns of `metrics.csv` with an epoch's losses and metrics."""
    return ["train_loss", *(metric.column for metric in METRICS.values())]


class CrossEntropy(MeanMetric):
    """The mean cross-entropy over photos, without label smoothing."""

    def update(self, logits: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        super().update(F.cross_entropy(logits, targets, reduction="none"))


class Accuracy(MulticlassAccuracy):
    """The share of photos whose most probable class is their label."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes, average="micro", validate_args=False)


class ErrorRate(Accuracy):
    """One minus the accuracy."""

    def compute(self) -> Tensor:
        return 1 - super().compute().cpu().double()


class AccuracyByClass(MulticlassAccuracy):
    """Accuracy and number of photos of each class, (2, classes)."""

    tp: Tensor
    fn: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__(classes, average="none", validate_args=False)

    def compute(self) -> Tensor:
        return torch.stack([super().compute(), (self.tp + self.fn).float()])


class MeanClassAccuracy(AccuracyByClass):
    """The mean of the accuracies of the classes that have photos."""

    def compute(self) -> Tensor:
        accuracy, photos = super().compute()
        present = accuracy[photos > 0].tolist()
        return torch.tensor(sum(present) / len(present), dtype=torch.float64)


METRICS.add(
    SplitMetric(
        "loss", "cross-entropy, mean over photos", lambda _: CrossEntropy(),
        is_share=False, column="valid_loss",
    )
)  # fmt: skip
METRICS.add(
    SplitMetric("accuracy", "share of photos classified right", Accuracy, in_epoch_table=False)
)
METRICS.add(SplitMetric("error_rate", "share of photos classified wrong", ErrorRate))
METRICS.add(
    SplitMetric(
        "mean_class_accuracy", "accuracy of each class, mean over classes", MeanClassAccuracy,
        in_epoch_table=False,
    )
)  # fmt: skip


class Temperature(Metric):
    """Temperature scaling (Guo et al. 2017): the temperature, 0.05 to 20, that minimises the loss
    over the photos of all ranks, without storing their logits.

    The loss is summed at fixed temperatures; the result is the minimum of a spline through them.
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
        if not self.losses.isfinite().all():  # the network has diverged
            return torch.tensor(torch.nan)
        curve = CubicSpline(self.logs.numpy(), self.losses.double().cpu().numpy())
        level = curve.derivative().roots(extrapolate=False)
        candidates = [*self.logs.tolist(), *level[np.isfinite(level)]]
        return torch.tensor(math.exp(min(candidates, key=curve)))


class SplitMetrics(nn.Module):
    """All registered metrics over the photos of one split; each rank adds its own photos."""

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = classes
        self.registered = nn.ModuleDict({m.name: m.make(len(classes)) for m in METRICS.values()})
        self.by_class = AccuracyByClass(len(classes))
        self.temperature = Temperature()

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch of logits (B, classes) and class indices (B,)."""
        for metric in self._all():
            metric.update(logits, targets)

    def compute(self) -> dict[str, Any]:
        """Return the metrics by name, then `photos` and `per_class`.

        `per_class` is the accuracy by class name, None for a class without photos.
        """
        accuracy, photos = self.by_class.compute().tolist()
        return {
            **{name: float(metric.compute()) for name, metric in self._registered()},
            "photos": int(sum(photos)),
            "per_class": {
                name: value if n else None
                for name, value, n in zip(self.classes, accuracy, photos, strict=True)
            },
        }

    def reset(self) -> None:
        """Reset all metrics."""
        for metric in self._all():
            metric.reset()

    def _registered(self) -> list[tuple[str, Metric]]:
        return [(name, m) for name, m in self.registered.items() if isinstance(m, Metric)]

    def _all(self) -> list[Metric]:
        return [*(m for _, m in self._registered()), self.by_class, self.temperature]
