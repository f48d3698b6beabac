"""Pooled features are timm's own, for a network of every family; and what each key refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from pets.config import ModelConfig
from pets.errors import ConfigError, WeightsError
from pets.models.backbone import Backbone
from pets.models.classifier import Classifier, classifier_from, new_backbone
from pets.models.weights import empty_network, load_pretrained
from pets.training.start import with_weights
from tests.conftest import train_config

# Name and arguments.
FAMILIES: list[tuple[str, dict[str, int]]] = [
    ("vit_tiny_patch16_224", {"img_size": 64}),  # a class token
    ("vit_small_patch14_dinov2", {"img_size": 56}),
    ("vit_small_patch16_dinov3", {"img_size": 64}),  # register tokens, the mean of the patches
    ("vit_base_patch32_siglip_256", {"img_size": 64}),  # an attention pool
    ("vit_base_patch32_clip_224", {"img_size": 64}),
    ("eva02_tiny_patch14_224", {"img_size": 56}),  # a mean, then a norm
    ("convnextv2_atto", {}),  # a norm after the mean
    ("swin_s3_tiny_224", {"img_size": 64, "window_size": 4}),  # channels last
    ("efficientnet_lite0", {}),
    ("resnet10t", {}),
    ("mobilenetv3_small_050", {}),  # a layer after the mean
    ("beit_base_patch16_224", {"img_size": 64}),
]


def config_of(name: str, *overrides: str, **args: int) -> ModelConfig:
    model = train_config("model=timm", f"model.name={name}", "model.weights=none", *overrides).model
    return model.model_copy(update={"args": args})


def photos_for(backbone: Backbone) -> Tensor:
    side = min(backbone.own_size[0], 64)
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "args"), FAMILIES)
def test_own_features_are_those_of_timm(name: str, args: dict[str, int]) -> None:
    config = config_of(name, "model.pool=own", **args)
    backbone = new_backbone(config, 0)[0].eval()
    theirs = timm.create_model(name, pretrained=False, **args).eval()
    ours = backbone.network.state_dict()
    assert theirs.state_dict().keys() - ours.keys() <= {
        f"{part}.{kind}" for part in ("head", "fc", "classifier", "head.fc")
        for kind in ("weight", "bias")
    }  # fmt: skip
    theirs.load_state_dict(ours, strict=False)
    photos = photos_for(backbone)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(photos), pre_logits=True)
        result = backbone.pool(backbone(photos), (photos.shape[2], photos.shape[3]))
    assert result.shape == (2, backbone.features)
    assert result.std() > 1e-3
    assert torch.allclose(result, expected, atol=1e-5)
    grouped = [parameter for _, names in backbone.groups for parameter in names]
    assert sorted(grouped) == sorted(parameter for parameter, _ in backbone.named_parameters())


def test_auto_keeps_the_networks_pooling_for_tokens_and_the_heads_for_maps() -> None:
    chosen = {
        name: new_backbone(config_of(name, **args), 0)[0].pooling
        for name, args in FAMILIES
        if name.startswith(("vit_tiny", "vit_base", "eva02", "convnext", "swin", "efficientnet"))
    }
    assert chosen == {
        "vit_tiny_patch16_224": "own",
        "vit_base_patch32_siglip_256": "own",
        "vit_base_patch32_clip_224": "own",
        "eva02_tiny_patch14_224": "own",
        "convnextv2_atto": "concat",
        "swin_s3_tiny_224": "concat",
        "efficientnet_lite0": "concat",
    }
    # A run of before `pool` has null: the head pools the tokens' map.
    before = config_of("test_vit").model_copy(update={"pool": None})
    assert new_backbone(before, 0)[0].pooling == "concat"


def test_token_and_means_of_tokens() -> None:
    photos = torch.randn(2, 3, 160, 160)
    tokens: Tensor | None = None
    for pool in ("token", "avg", "concat"):
        backbone = new_backbone(config_of("test_vit", f"model.pool={pool}"), 0)[0].eval()
        with torch.no_grad():
            tokens = backbone(photos)
            result = backbone.pool(tokens, (160, 160))
        patches = tokens[:, 1:]
        expected = {
            "token": tokens[:, 0],
            "avg": patches.mean(1),
            "concat": torch.cat([patches.amax(1), patches.mean(1)], 1),
        }[pool]
        assert torch.allclose(result, expected, atol=1e-6)
        assert backbone.features == expected.shape[1]


def test_tokens_of_photos_that_are_not_square_are_in_place() -> None:
    backbone = new_backbone(config_of("vit_small_patch16_dinov3", "model.pool=avg"), 0)[0].eval()
    tokens = torch.arange(5 + 2 * 3.0).view(1, 11, 1)
    assert torch.equal(
        backbone.as_map(tokens, (32, 48))[0, 0], torch.tensor([[5.0, 6, 7], [8, 9, 10]])
    )


@pytest.mark.parametrize(
    ("name", "override", "line"),
    [
        ("resnet10t", "model.pool=token", "model.pool=token: resnet10t has no class token"),
        ("vit_base_patch32_siglip_256", "model.pool=token", "has no class token"),
        (
            "vit_tiny_patch16_224", "+model.args.img_sze=64",
            "model.args.img_sze: VisionTransformer.__init__ takes no such argument; did you mean "
            "img_size",
        ),
        ("vit_tiny_patch16_224", "model.args.img_size=big", "refuses img_size=big"),
        ("resnet10t", "model.args.img_size=64", "model.args.img_size: ResNet.__init__ takes no"),
        ("resnet10t", "+model.args.num_classes=3", "num_classes=3: is set by pets itself"),
        (
            "levit_128s", "+model.args.checkpoint_path=/etc/passwd",
            "model.args.checkpoint_path=/etc/passwd: is set by pets itself",
        ),
        ("vit_tiny_patch16_224.nope", "seed=0", "did you mean vit_tiny_patch16_224.augreg_in21k"),
    ],
)  # fmt: skip
def test_what_a_network_does_not_have_is_one_line(name: str, override: str, line: str) -> None:
    model = train_config("model=timm", f"model.name={name}", "model.weights=none", override).model
    with pytest.raises(ConfigError, match=re.escape(line)) as error:
        new_backbone(model, 0)
    assert len(str(error.value).splitlines()) == 1


def test_gradients_with_checkpointing_are_the_same_and_networks_without_refuse() -> None:
    photos, grads = torch.randn(2, 3, 64, 64), []
    for checkpointing in (False, True):
        backbone = new_backbone(config_of("vit_tiny_patch16_224", img_size=64), 0)[0].train()
        if checkpointing:
            backbone.checkpoint_gradients()
        assert backbone.network.grad_checkpointing == checkpointing
        backbone.pool(backbone(photos), (64, 64)).sum().backward()
        grads.append(backbone.network.patch_embed.proj.weight.grad)
    assert torch.allclose(grads[0], grads[1], atol=1e-6)
    without = new_backbone(config_of("xcit_nano_12_p16_224"), 0)[0]
    without.network.set_grad_checkpointing = timm.models.VGG.set_grad_checkpointing.__get__(without)
    with pytest.raises(ConfigError, match=r"has no such mode in timm; expected false"):
        without.checkpoint_gradients()


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("efficientnet_lite0", 224),
        ("efficientnet_lite1", 240),
        ("efficientnet_lite2", 260),
        ("resnet18", 224),
        ("dinov2_small", 224),
        ("dinov3_small", 256),
        ("eva02_small", 336),
    ],
)
def test_the_size_auto_is_that_of_the_weights(model: str, size: int) -> None:
    config = train_config(f"model={model}", "model.weights=none", "data=oxford_pets")
    assert config.data.size == "auto"
    backbone = new_backbone(config.model, 0)[0]
    assert with_weights(config, backbone).data.height_width == (size, size)
    given = train_config(f"model={model}", "model.weights=none", "data.size=[64,96]")
    assert with_weights(given, backbone).data.size == (64, 96)


def published(folder: Path, name: str = "test_vit", **about: object) -> tuple[Path, Tensor]:
    """A network of timm in the hub's layout, and its features of a photo."""
    torch.manual_seed(3)
    network = timm.create_model(name, num_classes=7, img_size=64).eval()
    save_file(network.state_dict(), folder / "model.safetensors")
    cfg = {
        "input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.5] * 3, "crop_pct": 0.8,
        "interpolation": "bilinear", "fixed_input_size": True, "classifier": "head",
    }  # fmt: skip
    values = {"architecture": name, "num_classes": 7, "pretrained_cfg": cfg, **about}
    (folder / "config.json").write_text(json.dumps(values))
    with torch.no_grad():
        photos = torch.ones(1, 3, 64, 64)
        return folder, network.forward_head(network.forward_features(photos), pre_logits=True)


def cached(folder: Path, repository: str, **about: object) -> Tensor:
    """The same in the cache of the hub's client."""
    top = folder / f"models--{repository.replace('/', '--')}"
    (top / "snapshots/1").mkdir(parents=True)
    (top / "refs").mkdir()
    (top / "refs/main").write_text("1")
    return published(top / "snapshots/1", **about)[1]


def address_config(address: str, *overrides: str) -> ModelConfig:
    return train_config("model=timm", f"model.name='{address}'", *overrides).model


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache where no host answers."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    return folder


@pytest.mark.parametrize("kind", ["hf-hub", "local-dir"])
def test_a_published_network_opens_again_without_its_files(
    kind: str, offline: Path, tmp_path: Path
) -> None:
    if kind == "hf-hub":
        expected, address = cached(offline, "someone/small-vit"), "hf-hub:someone/small-vit"
    else:
        (tmp_path / "net").mkdir()
        folder, expected = published(tmp_path / "net")
        address = f"local-dir:{folder}"
    pretrained = load_pretrained(address_config(address))
    assert pretrained.preprocess.mean == (0.1, 0.2, 0.3)
    assert pretrained.preprocess.crop_pct == 0.8
    config = pretrained.config
    assert (config.name, config.weights, config.args["img_size"]) == ("test_vit", address, [64, 64])
    backbone = Backbone(pretrained.network, config).eval()
    assert (backbone.own_size, backbone.pooling) == ((64, 64), "own")
    photos = torch.ones(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(backbone.pool(backbone(photos), (64, 64)), expected, atol=1e-6)
    # From its description alone, as a checkpoint has it.
    model = Classifier(backbone, config, ["a", "b"], pretrained.preprocess, (64, 64)).eval()
    for file in offline.rglob("model.safetensors"):
        file.unlink()
    again = classifier_from(model.describe())
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(photos), model(photos))
    assert empty_network(config).pretrained_cfg["architecture"] == "test_vit"


def test_a_network_that_is_not_in_the_cache_is_one_line_at_once(offline: Path) -> None:
    line = r"^model\.name=hf-hub:no/thing cannot be downloaded .*\(1\) go onl"
    with pytest.raises(WeightsError, match=line):
        load_pretrained(address_config("hf-hub:no/thing"))


@pytest.mark.parametrize(
    ("address", "overrides", "line"),
    [
        ("hf-hub:no-owner", [], "model.name=hf-hub:no-owner: expected hf-hub:<owner>/<name>"),
        ("hf-hub:a/b/../c", [], "expected hf-hub:<owner>/<name>"),
        ("hf-hub:a/b", ["model.weights=none"], "expected model.weights=default"),
        ("local-dir:nowhere", [], "nowhere/config.json is not there"),
        ("http://host/x", [], "has no such architecture"),
    ],
)
def test_wrong_addresses_are_one_line(address: str, overrides: list[str], line: str) -> None:
    with pytest.raises((ConfigError, WeightsError), match=re.escape(line)):
        load_pretrained(address_config(address, *overrides))


@pytest.mark.parametrize(
    ("about", "line"),
    [
        ({"architecture": "own_net"}, "has no own_net"),
        ({"pretrained_cfg": 3}, "its config.json is not timm's (('pretrained_cfg',))"),
        ({"num_classes": 9}, "does not fit the architecture; it differs in head.weight (7, 64)"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "is set by pets itself"),
        ({"model_args": {"in_chans": 1}}, "takes other photos than those of three channels"),
        ({"model_args": {"depth": 1}}, "it has besides blocks.1.attn.proj.bias"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(
    about: dict[str, object], line: str, tmp_path: Path
) -> None:
    folder, _ = published(tmp_path, **about)
    with pytest.raises((ConfigError, WeightsError), match=re.escape(line)):
        load_pretrained(address_config(f"local-dir:{folder}"))


def test_weights_by_address_must_be_of_the_named_architecture(tmp_path: Path) -> None:
    folder, _ = published(tmp_path)
    right, wrong = (
        train_config(
            "model=timm", f"model.name={name}", f"model.weights='local-dir:{folder}'"
        ).model
        for name in ("test_vit", "resnet10t")
    )
    assert load_pretrained(right).config.args == {"img_size": [64, 64]}
    with pytest.raises(ConfigError, match=r"is a test_vit; expected model\.name=test_vit"):
        load_pretrained(wrong)


def test_position_embeddings_of_a_file_are_fitted_to_the_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    weights = ["model.args.img_size=64", f"model.weights={tmp_path / 'w.safetensors'}"]
    model = train_config("model=timm", "model.name=test_vit", *weights).model
    tokens = load_pretrained(model).network.state_dict()["pos_embed"]
    assert tokens.shape[1] == 1 + (64 // 16) ** 2
