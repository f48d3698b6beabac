"""Metrics measured on a split; new ones are added to `METRICS`."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCohenKappa,
    MulticlassF1Score,
)
from torchmetrics.functional.classification import (
    multiclass_auroc,
    multiclass_average_precision,
)
from torchmetrics.utilities import dim_zero_cat

from pets.registry import Registry


@dataclass(frozen=True)
class SplitMetric:
    """A metric of a split, and how it is shown.

    Attributes:
        name: The key in `status.json` and `eval/*.json`, and in TensorBoard.
        doc: One-line description.
        make: Maps the number of classes to a torchmetrics `Metric`. Its `update` gets logits
            (B, classes) and class indices (B,), its `compute` returns a scalar over all ranks. Its
            `higher_is_better` says which of two values is better, if runs may monitor it.
        is_share: Whether it is from 0 to 1 and shown in percent.
        in_epoch_table: Whether it is logged after each epoch.
        column: The column of `metrics.csv`; by default the name.
        always: Whether every run measures it; the others are chosen by `metrics` in the config.
        counts_photos: Whether it is a share of the photos, whose noise is then binomial.
        curve: The curve that it is the area under, which the report then draws: `roc` or
            `precision_recall`.
    """

    name: str
    doc: str
    make: Callable[[int], Metric]
    is_share: bool = True
    in_epoch_table: bool = True
    column: str = ""
    always: bool = True
    counts_photos: bool = False
    curve: str = ""

    def __post_init__(self) -> None:
        if not self.column:
            object.__setattr__(self, "column", self.name)

    def show(self, value: float) -> str:
        """Format the value: `91.50 %` for a share, else four decimals."""
        return f"{100 * value:.2f} %" if self.is_share else f"{value:.4f}"


METRICS: Registry[SplitMetric] = Registry()


def always_measured() -> dict[str, SplitMetric]:
    """Return the metrics that every run measures, by name."""
    return {name: metric for name, metric in METRICS.items() if metric.always}


def metric_named(name: str) -> SplitMetric | None:
    """Return a registered metric, or top-k accuracy for any `top<k>`; None for other names."""
    name = "accuracy" if name == "top1" else name
    if (match := re.fullmatch(r"top([1-9]\d*)", name)) and name not in METRICS:
        return top_k(int(match[1]))
    return METRICS.get(name)


class CrossEntropy(MeanMetric):
    """The mean cross-entropy over photos, without label smoothing."""

    higher_is_better = False  # type: ignore[assignment]

    def update(self, logits: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        super().update(F.cross_entropy(logits, targets, reduction="none"))


class Accuracy(MulticlassAccuracy):
    """The share of photos whose most probable class is their label."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes, average="micro", validate_args=False)


class ErrorRate(Accuracy):
    """One minus the accuracy."""

    higher_is_better = False

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
    SplitMetric(
        "accuracy", "share of photos classified right", Accuracy,
        in_epoch_table=False, counts_photos=True,
    )
)  # fmt: skip
METRICS.add(
    SplitMetric(
        "error_rate", "share of photos classified wrong", ErrorRate, counts_photos=True
    )
)  # fmt: skip
METRICS.add(
    SplitMetric(
        "mean_class_accuracy", "accuracy of each class, mean over classes", MeanClassAccuracy,
        in_epoch_table=False,
    )
)  # fmt: skip


def top_k(k: int) -> SplitMetric:
    """Return top-k accuracy; more than `k` classes are needed."""

    def make(classes: int) -> Metric:
        return MulticlassAccuracy(classes, top_k=k, average="micro", validate_args=False)

    doc = f"share of photos whose label is among the {k} most probable classes"
    return SplitMetric(f"top{k}", doc, make, always=False, counts_photos=True)


def f1(average: Any) -> Callable[[int], Metric]:
    """Return the constructor of F1 with one of torchmetrics' averages over classes."""
    return lambda classes: MulticlassF1Score(classes, average=average, validate_args=False)


class OneVsRest(Metric):
    """The area under a curve of each class against the rest, mean over the classes with photos.

    torchmetrics' own classes would average a class without photos as 0, and take logits for
    probabilities if those of a batch happen to lie between 0 and 1. The area is exact: the
    probabilities of the whole split are kept.

    Args:
        classes: Number of classes.
        areas: torchmetrics' function for the area of each class.
    """

    higher_is_better = True
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, classes: int, areas: Callable[..., Tensor]) -> None:
        super().__init__()
        self.classes, self.areas = classes, areas
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        self.probabilities.append(logits.float().softmax(1))
        self.targets.append(targets)

    def compute(self) -> Tensor:
        probabilities, targets = dim_zero_cat(self.probabilities), dim_zero_cat(self.targets)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the classes that are left out
            areas = self.areas(
                probabilities, targets, self.classes, average="none", validate_args=False
            )
        present = torch.unique(targets)
        # With a single class there is no rest.
        return areas[present if len(present) > 1 else []].mean()


METRICS.add(top_k(3))
METRICS.add(top_k(5))
METRICS.add(
    SplitMetric(
        "macro_f1", "F1 of each class that is a label or a prediction, mean over classes",
        f1("macro"), always=False,
    )
)  # fmt: skip
METRICS.add(
    SplitMetric(
        "weighted_f1", "F1 of each class, weighted by its photos", f1("weighted"), always=False
    )
)  # fmt: skip
METRICS.add(
    SplitMetric(
        "auroc", "area under the ROC curve of a class against the rest, mean over classes",
        lambda classes: OneVsRest(classes, multiclass_auroc),
        is_share=False, always=False, curve="roc",
    )
)  # fmt: skip
METRICS.add(
    SplitMetric(
        "average_precision", "average precision of a class against the rest, mean over classes",
        lambda classes: OneVsRest(classes, multiclass_average_precision),
        is_share=False, always=False, curve="precision_recall",
    )
)  # fmt: skip
METRICS.add(
    SplitMetric(
        "cohen_kappa", "agreement beyond chance: 0 is chance, 1 is perfect",
        lambda classes: MulticlassCohenKappa(classes, validate_args=False),
        is_share=False, always=False,
    )
)  # fmt: skip


class Temperature(Metric):
    """Temperature scaling (Guo et al. 2017) over the photos of all ranks.

    It is the temperature, 0.05 to 20, that minimises the loss; logits are not stored.

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
    """The metrics of a run over the photos of one split; each rank adds its own photos."""

    def __init__(
        self, classes: list[str], measured: Mapping[str, SplitMetric] | None = None
    ) -> None:
        super().__init__()
        self.classes = classes
        self.measured = dict(always_measured() if measured is None else measured)
        made = {name: metric.make(len(classes)) for name, metric in self.measured.items()}
        self.registered = nn.ModuleDict(made)
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
