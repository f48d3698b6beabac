"""A network of one's own, as docs/own.md describes it: a module registers it with timm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pets.config import ModelConfig
from pets.errors import ConfigError, ExportError
from pets.export.write import check_formats
from pets.features.activations import digest_of_module
from pets.models.backbone import Backbone
from pets.models.classifier import classifier_from, new_backbone, new_classifier
from pets.models.weights import load_pretrained
from tests.conftest import train_config

OWN = Path(__file__).parents[3] / "examples/own"


def config(*overrides: str) -> ModelConfig:
    words = ["model=timm", "model.module=own_network", "model.name=small_net", "model.weights=none"]
    return train_config(*words, "model/head=linear", *overrides).model


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's module can be imported."""
    monkeypatch.syspath_prepend(OWN)


@pytest.mark.usefixtures("own")
def test_the_example_is_a_backbone_with_its_own_size_groups_and_normalisation() -> None:
    backbone, preprocess, source = new_backbone(config(), seed=0)
    assert (backbone.own_size, backbone.features, source) == ((64, 64), 64, "none")
    assert (preprocess.mean, preprocess.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert [name for name, _ in backbone.groups] == ["group0", "group1"]
    assert [len(names) for _, names in backbone.groups] == [3, 6]
    photos = torch.randn(2, 3, 64, 64)
    assert backbone(photos).shape == (2, 64, 8, 8)
    assert torch.equal(backbone(photos), backbone.network.forward_features(photos))
    assert (
        Backbone(load_pretrained(wide := config("+model.args.width=8")).network, wide).features
        == 32
    )


@pytest.mark.usefixtures("own")
def test_a_checkpoint_rebuilds_it() -> None:
    backbone, preprocess, _ = new_backbone(config(), seed=0)
    model = new_classifier(backbone, config(), ["cat", "dog"], preprocess, (64, 64), seed=0).eval()
    again = classifier_from(model.describe())
    again.load_state_dict(model.state_dict())
    photos = torch.randn(2, 3, 64, 64)
    assert torch.equal(again.eval()(photos), model(photos))


@pytest.mark.usefixtures("own")
def test_formats_that_would_need_its_code_are_refused(tmp_path: Path) -> None:
    backbone, preprocess, _ = new_backbone(config(), seed=0)
    model = new_classifier(backbone, config(), ["cat", "dog"], preprocess, (64, 64), seed=0)
    check_formats(["onnx"], model, tmp_path)
    for name in ("safetensors", "hub"):
        with pytest.raises(
            ExportError, match=f"to={name}: .* the code of model.module=own_network"
        ):
            check_formats([name], model, tmp_path)


def test_cached_activations_follow_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changing_network.py").write_text("STRIDE = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = config("model.module=changing_network")
    before = digest_of_module(model)
    (tmp_path / "changing_network.py").write_text("STRIDE = 1\n")
    assert digest_of_module(model)["module"] != before["module"]
    assert digest_of_module(train_config().model) == {}


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["model.weights=default"], "weights=default: the networks of model.module=own_network"),
        (["model.library=torchvision"], "module=own_network: registers networks with timm;"),
        (["model.module=no_such"], "model.module=no_such: cannot be imported (No module named"),
        (["model.name=small_nett"], "model.name=small_nett: timm has no such architecture; did you "
                                    "mean small_net"),
        (["+model.args.depth=3"], "model.args.depth: SmallNet.__init__ takes no such argument"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_pretrained(config(*overrides))
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
