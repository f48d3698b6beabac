"""A loss is called once before any photo is read."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pets.config import NamedLoss, Target
from pets.errors import ConfigError
from pets.training.losses import check_loss


def each_photo(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


def as_number(logits: Tensor, targets: Tensor) -> float:
    return float(F.cross_entropy(logits, targets))


def without_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.detach(), targets)


def every_logit(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.square()


def infinite(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.sum() / 0


def indices_only(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets.reshape(2))


def weighted(weights: list[float]) -> torch.nn.Module:
    return torch.nn.CrossEntropyLoss(weight=torch.tensor(weights))


def make(name: str) -> object:
    return globals()[name]


def loss(name: str) -> Target:
    return Target.model_validate({"_target_": f"{__name__}.make", "name": name})


@pytest.mark.parametrize("mixes", [False, True])
def test_usual_losses_are_taken(mixes: bool) -> None:
    check_loss(NamedLoss(name="cross_entropy", label_smoothing=0.1), mixes)
    check_loss(Target.model_validate({"_target_": "torch.nn.CrossEntropyLoss"}), mixes)
    check_loss(loss("each_photo"), mixes)
    ten = {"_target_": f"{__name__}.weighted", "weights": [1.0] * 10}
    check_loss(Target.model_validate(ten), mixes)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("torch.nn.BCEWithLogitsLoss", "Target size"),
        ("torch.nn.MSELoss", "The size of tensor a"),
    ],
)
def test_losses_for_other_targets_are_refused(path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_loss(Target.model_validate({"_target_": path}))
    line = str(raised.value)
    start = f"loss._target_={path}: cannot be called with logits (B, C) and class indices (B,): "
    assert line.startswith(start + reason)
    assert "expected a loss for each photo (B,) or their mean" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("as_number", "returns a float"),
        ("without_gradient", "has no gradient"),
        ("every_logit", r"returns torch\.float32 of shape \(2, 3\) for 2 photos"),
        ("infinite", "not finite"),
    ],
)
def test_results_that_cannot_be_minimised_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"class indices \(B,\): .*{reason}"):
        check_loss(loss(name))


def test_a_loss_of_indices_only_is_refused_where_labels_are_mixed() -> None:
    check_loss(loss("indices_only"))
    with pytest.raises(ConfigError, match=r"label shares \(B, C\), which augment\.batch makes: "):
        check_loss(loss("indices_only"), mixes=True)
