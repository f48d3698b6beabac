"""Training losses; new ones are added to `LOSSES`.

Metrics do not depend on them: the validation loss is always the cross-entropy.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hydra.utils import get_object
from torch import Tensor
from torch.nn import functional as F

from pets.config import NamedLoss, Target
from pets.config.instantiate import build
from pets.errors import ConfigError, some
from pets.registry import Registry, expected

# Maps logits (B, C) and targets to the mean loss, or to the loss of each photo (B,). Targets are
# class indices (B,) or, for mixed photos, class probabilities (B, C).
Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss that is part of pets.

    Attributes:
        name: The `name` in `conf/loss/<name>.yaml`.
        doc: One-line description.
        make: A function in this module that maps the other keys of that file to a `Criterion`. If
            it has a parameter `class_counts`, it gets the number of training photos of each class
            (C,), and as `class_names` the names of the classes, or None while they are not known.
    """

    name: str
    doc: str
    make: Callable[..., Criterion]


LOSSES: Registry[Loss] = Registry()


def cross_entropy(label_smoothing: float) -> Criterion:
    """Return the mean cross-entropy with label smoothing."""
    _check_smoothing(label_smoothing)
    return partial(F.cross_entropy, label_smoothing=label_smoothing)


LOSSES.add(Loss("cross_entropy", "cross-entropy, with label smoothing", cross_entropy))


def weighted(
    weight: str | Mapping[Any, float],
    label_smoothing: float,
    class_counts: Tensor,
    class_names: Sequence[str] | None,
) -> Criterion:
    """Return the cross-entropy times the weight of the class.

    Weights are divided by their mean over the training photos. Unlike torch's, which are divided by
    their sum in the batch, they weigh a photo equally in every batch and on every rank.
    """
    table = None if weight == "auto" else _table(weight)
    weights = 1 / class_counts.double()
    if table is not None and class_names is not None:
        weights = torch.tensor(_in_order(table, class_names)).double()
    weights = (weights * class_counts.sum() / (weights * class_counts).sum()).float()

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        return _cross_entropy(logits, shares * weights.to(shares.device, non_blocking=True))

    return _on_shares(loss, label_smoothing)


LOSSES.add(Loss("weighted", "cross-entropy with class weights", weighted))


def focal(gamma: float, label_smoothing: float) -> Criterion:
    """Return the focal loss (Lin et al. 2017, arXiv:1708.02002) of the softmax.

    It is the cross-entropy times (1 - p) ** gamma, p being the probability of the label.
    """
    _check_number("gamma", gamma, 0)

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        return _cross_entropy(logits, shares * _power(1 - logits.softmax(1), gamma))

    return _on_shares(loss, label_smoothing)


LOSSES.add(
    Loss("focal", "focal loss of the softmax: photos that are right and sure count less", focal)
)


def bce(label_smoothing: float) -> Criterion:
    """Return the binary cross-entropy of each class against the others, summed over the classes."""

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, shares, reduction="none").sum(1)

    return _on_shares(loss, label_smoothing)


LOSSES.add(Loss("bce", "binary cross-entropy of each class against the others", bce))


def asymmetric(gamma_pos: float, gamma_neg: float, label_smoothing: float) -> Criterion:
    """Return the asymmetric loss for single labels (Ridnik et al. 2021, arXiv:2009.14119).

    As timm's `AsymmetricLossSingleLabel`; the loss of mixed labels is that of each label, times its
    share.
    """
    _check_number("gamma_pos", gamma_pos, 0)
    _check_number("gamma_neg", gamma_neg, 0)
    _check_smoothing(label_smoothing)

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        p, other = logits.softmax(1), label_smoothing / logits.shape[1]
        positive = shares * (1 - label_smoothing + other) * _power(1 - p, gamma_pos)
        negative = (1 - shares) * other * _power(p, gamma_neg)
        return _cross_entropy(logits, positive + negative)

    return _on_shares(loss)


LOSSES.add(
    Loss(
        "asymmetric",
        "asymmetric loss for single labels: focal, differently for other classes",
        asymmetric,
    )
)


def poly(epsilon: float, label_smoothing: float) -> Criterion:
    """Return Poly-1 (Leng et al. 2022, arXiv:2204.12511).

    It is the cross-entropy plus epsilon * (1 - p), p being the probability of the label.
    """
    _check_number("epsilon", epsilon, -1)

    def loss(logits: Tensor, shares: Tensor) -> Tensor:
        p = (shares * logits.softmax(1)).sum(1)
        return _cross_entropy(logits, shares) + epsilon * (1 - p)

    return _on_shares(loss, label_smoothing)


LOSSES.add(
    Loss("poly", "Poly-1: cross-entropy plus a multiple of the label's missing probability", poly)
)


def soft_target() -> Criterion:
    """Return the cross-entropy with label shares, timm's `SoftTargetCrossEntropy`."""
    return _on_shares(_cross_entropy)


LOSSES.add(Loss("soft_target", "cross-entropy with label shares, as timm names it", soft_target))


def _on_shares(loss: Callable[[Tensor, Tensor], Tensor], label_smoothing: float = 0.0) -> Criterion:
    """Turn a loss of logits and label shares, both (B, C), into one that smooths the labels and
    takes class indices, too."""
    _check_smoothing(label_smoothing)

    def criterion(logits: Tensor, targets: Tensor) -> Tensor:
        classes = logits.shape[1]
        shares = F.one_hot(targets, classes) if targets.ndim == 1 else targets
        # bf16 and float16 are too coarse for a loss.
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        smoothed = shares * (1 - label_smoothing) + label_smoothing / classes
        return loss(precise, smoothed.to(precise.dtype))

    return criterion


def _cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    return -(shares * logits.log_softmax(1)).sum(1)


def _power(base: Tensor, exponent: float) -> Tensor:
    # At 0 the gradient of a root is infinite.
    return base.clamp(min=1e-12) ** exponent


def _table(weight: Any) -> dict[str, float]:
    if isinstance(weight, Mapping) and weight:
        table = {str(name): value for name, value in weight.items()}
        if all(_is_number(value) and value > 0 for value in table.values()):
            return table
    raise ConfigError(
        f"loss.weight={weight}: expected auto, or a number above 0 for every class, as in "
        '"loss.weight={cat: 1, dog: 2.5}"'
    )


def _in_order(table: Mapping[str, float], class_names: Sequence[str]) -> list[float]:
    for name in table:
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {some([*class_names])}"
            raise ConfigError(f"loss.weight.{name}={table[name]}: no such class; {hint}")
    if missing := [name for name in class_names if name not in table]:
        raise ConfigError(
            f"loss.weight: has no number for {some(missing)}; expected one for each of the "
            f"{len(class_names)} classes"
        )
    return [table[name] for name in class_names]


def _check_smoothing(value: Any) -> None:
    if not (_is_number(value) and 0 <= value < 1):
        raise ConfigError(f"loss.label_smoothing={value}: expected a number from 0 to below 1")


def _check_number(key: str, value: Any, least: float) -> None:
    if not (_is_number(value) and value >= least):
        raise ConfigError(f"loss.{key}={value}: expected a number of at least {least}")


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def new_loss(
    loss: NamedLoss | Target,
    class_counts: Tensor | None,
    class_names: Sequence[str] | None = None,
) -> Criterion:
    """Build the loss of a config; `class_counts` (C,) are numbers of training photos.

    Raises:
        ConfigError: It refuses its arguments, or the names of the classes.
    """
    target = loss_target(loss)
    known = {"class_counts": class_counts, "class_names": class_names}
    parameters = inspect.signature(get_object(target.target)).parameters
    given = {name: value for name, value in known.items() if name in parameters}
    criterion: Criterion = build("loss", target, **given)
    return criterion


def loss_target(loss: NamedLoss | Target) -> Target:
    """Return the function that makes the loss. Raises ConfigError for an unknown name."""
    if isinstance(loss, Target):
        return loss
    if loss.name not in LOSSES:
        raise ConfigError(
            f"loss.name={loss.name}: expected {expected(loss.name, LOSSES)}; for a loss of your "
            "own loss=own loss._target_=<its path>"
        )
    path = f"{__name__}.{LOSSES[loss.name].make.__name__}"
    return Target.model_validate({"_target_": path, **(loss.model_extra or {})})
