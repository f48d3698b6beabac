"""LoRA: what is trained, that checkpoints reopen, that exports are plain."""

from __future__ import annotations

import re

import pytest
import timm
import torch

from pets.data.transforms import Preprocess
from pets.errors import ConfigError
from pets.models.classifier import Classifier, classifier_from, new_backbone, new_classifier
from pets.models.freezing import freeze_to
from pets.models.lora import is_adapter
from pets.training.rates import param_groups
from tests.conftest import train_config

PLAIN = Preprocess((0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
VIT = ("model=timm", "model.name=test_vit", "model.args.img_size=64", "model.weights=none")
LORA = "model.lora={r: 2, alpha: 4}"


def vit(*overrides: str, seed: int = 0) -> Classifier:
    config = train_config(*VIT, *overrides).model
    backbone = new_backbone(config, seed)[0]
    return new_classifier(backbone, config, ["a", "b"], PLAIN, (64, 64), seed)


def trained(model: Classifier) -> Classifier:
    """One step, which moves every trained number."""
    freeze_to(model, 0)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    torch.manual_seed(1)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for _ in range(2):  # an adapter's second matrix begins with zeros
        optimizer.zero_grad()
        model(torch.randn(4, 3, 64, 64)).square().sum().backward()
        optimizer.step()
    return model.eval()


def test_adapters_begin_without_effect_and_depend_on_the_seed() -> None:
    photos = torch.randn(2, 3, 64, 64)
    plain, one, again, other = vit(), vit(LORA), vit(LORA), vit(LORA, seed=1)
    with torch.no_grad():
        assert torch.equal(plain.features(photos), one.features(photos))
    name = "backbone.network.blocks.0.attn.qkv.lora_A.default.weight"
    assert torch.equal(one.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])


def test_only_adapters_of_unfrozen_groups_and_the_head_are_trained() -> None:
    model = vit(LORA)
    plain = [(name, len(parameters)) for name, parameters in vit().layer_groups]
    assert [name for name, _ in model.layer_groups] == [name for name, _ in plain]
    for n, blocks in ((0, range(6)), (-3, (4, 5)), (-1, ())):
        freeze_to(model, n)
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        adapters = {name for name in names if is_adapter(name)}
        assert names - adapters == {name for name in names if name.startswith("head.")}
        assert {int(re.findall(r"blocks\.(\d)", name)[0]) for name in adapters} == set(blocks)
        # qkv, proj, fc1 and fc2 have two matrices each.
        assert len(adapters) == 8 * len(blocks)
        ids = [id(p) for g in param_groups(model, [1e-3] * len(plain)) for p in g["params"]]
        assert sorted(ids) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = trained(model).state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name for name in moved if name.startswith("backbone.")} == {
        name for name in after if is_adapter(name)
    }


def test_a_description_reopens_and_an_export_is_plain() -> None:
    model, photos = trained(vit(LORA)), torch.randn(2, 3, 64, 64)
    again = classifier_from(model.describe())
    again.load_state_dict(model.state_dict())
    plain = model.without_adapters()
    assert plain.config.lora is None
    bare = timm.create_model("test_vit", img_size=64, num_classes=0)
    bare.load_state_dict(plain.backbone.network.state_dict())
    grouped = [name for _, names in plain.backbone.groups for name in names]
    assert sorted(grouped) == sorted(name for name, _ in plain.backbone.named_parameters())
    with torch.no_grad():
        expected = model(photos)
        assert torch.equal(again.eval()(photos), expected)
        assert torch.allclose(plain(photos), expected, atol=1e-5)
        assert not torch.allclose(vit()(photos), expected, atol=1e-2)
    assert any(is_adapter(name) for name, _ in model.named_parameters()), "the run keeps its own"


def test_layers_can_be_named_also_convolutions() -> None:
    names = [n for n, _ in vit(LORA[:-1] + ", target_modules: [qkv]}").named_parameters()]
    assert {name.split(".")[-4] for name in names if is_adapter(name)} == {"qkv"}
    config = train_config(
        "model=timm", "model.name=resnet10t", "model.weights=none",
        "model.lora={r: 2, alpha: 4, target_modules: [conv2]}",
    ).model  # fmt: skip
    backbone = new_backbone(config, 0)[0]
    assert sum(is_adapter(name) for name, _ in backbone.named_parameters()) == 8


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["model=resnet18", "model.weights=none", LORA],
            "has no linear layers; expected the names",
        ),
        (
            [*VIT, LORA[:-1] + ", target_modules: [nope]}"],
            "model.lora.target_modules: nope cannot have adapters",
        ),
        ([*VIT, "model.lora={r: 0, alpha: 4}"], "model.lora.r=0: expected a number of at least 1"),
        (
            [*VIT, "model.lora={r: 2}"],
            'model.lora.alpha is needed; give all together: "model.lora={r: ..., alpha: ...}"',
        ),
        ([*VIT, "model.lora=8"], "model.lora=8: expected keys with values"),
    ],
)
def test_what_cannot_be_adapted_is_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(line)) as error:
        new_backbone(train_config(*overrides).model, 0)
    assert len(str(error.value).splitlines()) == 1
