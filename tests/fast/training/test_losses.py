"""A loss is called once before any photo is read; the losses of pets are those of their papers."""

from pathlib import Path
from typing import Any

import pytest
import timm.loss
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from pets.config import NamedLoss, Target
from pets.data.photos import Photo, Photos
from pets.data.splits import TRAIN
from pets.errors import ConfigError
from pets.training.checks import check_classes, check_loss, check_signatures
from pets.training.losses import LOSSES, new_loss
from tests.conftest import train_config


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


NAMES = ["cat", "dog", "owl", "emu"]
COUNTS = torch.tensor([10, 60, 20, 10])
LOGITS = torch.tensor([[2.0, -1.0, 0.5, 0.0], [0.1, 0.3, -2.0, 1.0], [-1.0, 4.0, 0.0, 0.5]])
TARGETS = torch.tensor([0, 2, 1])
SHARES = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.25, 0.25, 0.25, 0.25]])


def made(*overrides: str) -> Any:
    """The loss of a config, of class indices or label shares: its mean over the photos."""
    criterion = new_loss(train_config(*overrides).loss, COUNTS, NAMES)
    return lambda targets, logits=LOGITS: criterion(logits, targets).mean()


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_indices_is_that_of_whole_shares(name: str) -> None:
    check_loss(train_config(f"loss={name}").loss, mixes=True)
    loss = made(f"loss={name}")
    torch.testing.assert_close(loss(TARGETS), loss(F.one_hot(TARGETS, 4).float()))


@pytest.mark.parametrize("name", LOSSES)
def test_a_sure_network_has_finite_gradients(name: str) -> None:
    roots = {"focal": ["loss.gamma=0.5"], "asymmetric": ["loss.gamma_pos=0.5"]}
    loss = made(f"loss={name}", *roots.get(name, []))
    for logits in (LOGITS * 1000, LOGITS * 1000 // 500, LOGITS.bfloat16()):
        logits.requires_grad_()
        for targets in (TARGETS, SHARES):
            (gradient,) = torch.autograd.grad(loss(targets, logits), logits)
            assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["focal", "bce", "asymmetric", "poly", "soft_target"])
def test_most_losses_of_mixed_labels_are_those_of_each_label_by_its_share(name: str) -> None:
    """So is mixup's loss in its paper. For weighted a test below computes it."""
    loss = made(f"loss={name}")
    each = torch.stack([loss(torch.tensor([c]), LOGITS[:1]) for c in range(4)])
    torch.testing.assert_close(loss(SHARES[:1], LOGITS[:1]), (SHARES[0] * each).sum())


@pytest.mark.parametrize("targets", [TARGETS, SHARES])
def test_losses_are_those_of_torch_and_timm(targets: Tensor) -> None:
    plain = F.cross_entropy(LOGITS, targets)
    smooth = F.cross_entropy(LOGITS, targets, label_smoothing=0.2)
    for same, expected in (("loss.label_smoothing=0", plain), ("loss.label_smoothing=0.2", smooth)):
        for name, off in (("focal", "loss.gamma=0"), ("poly", "loss.epsilon=0")):
            torch.testing.assert_close(made(f"loss={name}", off, same)(targets), expected)
        # Smoothed bce is timm's: classes other than the label get smoothing / C.
        dense = F.one_hot(targets, 4) if targets.ndim == 1 else targets
        smoothing = float(same.split("=")[1])
        bce = timm.loss.BinaryCrossEntropy(smoothing=0, sum_classes=True)
        expected = bce(LOGITS, dense * (1 - smoothing) + smoothing / 4)
        torch.testing.assert_close(made("loss=bce", same)(targets), expected)
    torch.testing.assert_close(made("loss=soft_target")(targets), plain)


def test_losses_of_indices_are_those_of_timm() -> None:
    for smoothing in (0.0, 0.1):
        same = f"loss.label_smoothing={smoothing}"
        bce = timm.loss.BinaryCrossEntropy(smoothing, sum_classes=True)
        torch.testing.assert_close(made("loss=bce", same)(TARGETS), bce(LOGITS, TARGETS))
        asl = timm.loss.AsymmetricLossSingleLabel(1.5, 3, eps=smoothing)
        gammas = ("loss.gamma_pos=1.5", "loss.gamma_neg=3")
        ours = made("loss=asymmetric", same, *gammas)
        torch.testing.assert_close(ours(TARGETS), asl(LOGITS, TARGETS))


def test_focal_and_poly_by_hand() -> None:
    p = LOGITS.softmax(1).gather(1, TARGETS[:, None]).squeeze()
    focal = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(made("loss=focal")(TARGETS), focal)
    poly = (-p.log() + 2 * (1 - p)).mean()
    torch.testing.assert_close(made("loss=poly")(TARGETS), poly)
    # With two classes the softmax of (z, 0) is the sigmoid of z.
    z = torch.tensor([[1.5], [-0.5]])
    pairs, labels = torch.cat([z, 0 * z], 1), torch.tensor([0, 1])
    right = (1 - labels)[:, None].float()
    expected = sigmoid_focal_loss(z, right, alpha=-1, gamma=3, reduction="mean")
    torch.testing.assert_close(made("loss=focal", "loss.gamma=3")(labels, pairs), expected)


def test_weights_are_divided_by_their_mean_over_the_training_photos() -> None:
    """Of 100 photos in 4 classes auto is 100 / (4 * photos): its mean over the photos is 1."""
    auto = torch.tensor([2.5, 100 / 240, 1.25, 2.5])
    given = torch.tensor([1.0, 2.0, 0.5, 4.0])
    mean = (given * COUNTS).sum() / 100
    table = "loss.weight={cat: 1, dog: 2, owl: 0.5, emu: 4}"
    for weights, key in ((auto, "loss.weight=auto"), (given / mean, table)):
        for smoothing in (0.0, 0.2):
            ours = made("loss=weighted", key, f"loss.label_smoothing={smoothing}")
            for targets in (TARGETS, SHARES):
                each = F.cross_entropy(
                    LOGITS, targets, weights, reduction="none", label_smoothing=smoothing
                )
                torch.testing.assert_close(ours(targets), each.mean())
    assert float((auto * COUNTS).sum()) == pytest.approx(100)
    same = made("loss=weighted", "loss.weight={cat: 3, dog: 3, owl: 3, emu: 3}")
    torch.testing.assert_close(same(TARGETS), F.cross_entropy(LOGITS, TARGETS))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["loss=focal", "loss.gamma=-1"], "loss.gamma=-1: expected a number of at least 0"),
        (["loss=focal", "loss.gamma=high"], "loss.gamma=high: expected a number"),
        (["loss=poly", "loss.epsilon=-2"], "loss.epsilon=-2: expected a number of at least -1"),
        (
            ["loss=asymmetric", "loss.gamma_neg=null"],
            "loss.gamma_neg=null: expected a number",
        ),
        (
            ["loss=bce", "loss.label_smoothing=1"],
            "loss.label_smoothing=1: expected a number from 0 to below 1",
        ),
        (
            ["loss=soft_target", "+loss.label_smoothing=0.1"],
            "loss.label_smoothing: soft_target takes no such argument; it takes none",
        ),
        (
            ["loss=weighted", "loss.weight=inverse"],
            "loss.weight=inverse: expected auto, or a number above 0 for every class, as in "
            '"loss.weight={cat: 1, dog: 2.5}"',
        ),
        (
            ["loss=weighted", "loss.weight={cat: 0, dog: 1}"],
            "loss.weight={'cat': 0, 'dog': 1}: expected auto, or a number above 0 for every class, "
            'as in "loss.weight={cat: 1, dog: 2.5}"',
        ),
        (
            ["loss=weighted", "data.sampler=balanced"],
            "data.sampler=balanced with loss.weight=auto makes up for rare classes twice; leave "
            "one of the two out",
        ),
        (
            ["data.sampler=equal"],
            "data.sampler=equal: expected 'shuffle', 'balanced' or 'weighted'",
        ),
    ],
)
def test_a_wrong_value_is_one_line_before_photos_are_read(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_signatures(train_config(*overrides))
    assert str(raised.value) == line


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            "{cat: 1, dog: 2, owl: 3, emus: 4}",
            "loss.weight.emus=4: no such class; did you mean emu?",
        ),
        ("{cat: 1, crocodile: 2}", "loss.weight.crocodile=2: no such class; there are cat, dog"),
        ("{cat: 1, dog: 2}", "loss.weight: has no number for owl, emu; expected one for each of "),
    ],
)
def test_the_names_of_weights_are_those_of_the_classes(table: str, line: str) -> None:
    config = train_config("loss=weighted", f"loss.weight={table}", "data.sampler=balanced")
    check_signatures(config)
    with pytest.raises(ConfigError) as raised:
        new_loss(config.loss, COUNTS, NAMES)
    assert str(raised.value).startswith(line)


def test_names_of_classes_may_be_numbers() -> None:
    rows = [Photo(f"{name}{i}", name, TRAIN) for name in ("0", "1") for i in range(3)]
    check_classes(
        train_config("loss=weighted", "loss.weight={0: 1, 1: 2}"), Photos(Path(), tuple(rows))
    )
