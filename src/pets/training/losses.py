"""Training losses; new ones are added to `LOSSES`.

Metrics do not depend on them: the validation loss is always the cross-entropy.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hydra.utils import get_object
from torch import Tensor
from torch.nn import functional as F

from pets.config import NamedLoss, Target
from pets.config.instantiate import build, check_signature
from pets.errors import ConfigError
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
            (C,), for class weights.
    """

    name: str
    doc: str
    make: Callable[..., Criterion]


LOSSES: Registry[Loss] = Registry()


def cross_entropy(label_smoothing: float) -> Criterion:
    """Return the mean cross-entropy with label smoothing."""
    if not (isinstance(label_smoothing, float | int) and 0 <= label_smoothing < 1):
        raise ValueError(f"label_smoothing={label_smoothing}: expected a number from 0 to below 1")
    return partial(F.cross_entropy, label_smoothing=label_smoothing)


LOSSES.add(Loss("cross_entropy", "cross-entropy, with label smoothing", cross_entropy))


def check_loss(loss: NamedLoss | Target, mixes: bool = False) -> None:
    """Check that the loss exists, takes its arguments, and can be called: with class indices, and
    with label shares if batch augmentation `mixes` photos. Raises ConfigError."""
    target = _target(loss)
    check_signature("loss", target, ("class_counts",))
    # How many classes there are is not known yet; a list in the config may have a value for each.
    lists = [value for value in (target.model_extra or {}).values() if isinstance(value, list)]
    classes = max([len(value) for value in lists] or [3])
    criterion = new_loss(loss, torch.ones(classes))
    logits = torch.linspace(-1, 1, 2 * classes).reshape(2, classes).requires_grad_()
    _call_once(target, criterion, logits, torch.tensor([0, classes - 1]), "class indices (B,)")
    if mixes:
        shares = torch.full((2, classes), 1 / classes)
        name = "label shares (B, C), which augment.batch makes"
        _call_once(target, criterion, logits, shares, name)


def _call_once(
    target: Target, criterion: Criterion, logits: Tensor, targets: Tensor, what: str
) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = criterion(logits, targets)
        if not isinstance(loss, Tensor):
            raise TypeError(f"returns a {type(loss).__name__}")
        if loss.shape not in ((), (2,)) or not loss.is_floating_point():
            raise ValueError(f"returns {loss.dtype} of shape {tuple(loss.shape)} for 2 photos")
        if not loss.isfinite().all() or not loss.requires_grad:
            raise ValueError(f"returns {loss.tolist()}, which is not finite or has no gradient")
    except Exception as error:  # the loss may be anybody's
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ConfigError(
            f"loss._target_={target.target}: cannot be called with logits (B, C) and {what}: "
            f"{reason}; expected a loss for each photo (B,) or their mean, as of "
            "torch.nn.CrossEntropyLoss"
        ) from error


def new_loss(loss: NamedLoss | Target, class_counts: Tensor | None) -> Criterion:
    """Build the loss of a config; `class_counts` (C,) are numbers of training photos."""
    target = _target(loss)
    wanted = "class_counts" in inspect.signature(get_object(target.target)).parameters
    given: dict[str, Any] = {"class_counts": class_counts} if wanted else {}
    criterion: Criterion = build("loss", target, **given)
    return criterion


def _target(loss: NamedLoss | Target) -> Target:
    if isinstance(loss, Target):
        return loss
    if loss.name not in LOSSES:
        raise ConfigError(
            f"loss.name={loss.name}: expected {expected(loss.name, LOSSES)}; for a loss of your "
            "own loss=own loss._target_=<its path>"
        )
    path = f"{__name__}.{LOSSES[loss.name].make.__name__}"
    return Target.model_validate({"_target_": path, **(loss.model_extra or {})})
