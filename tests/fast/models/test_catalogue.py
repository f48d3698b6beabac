"""The catalogue of backbones."""

from pathlib import Path

import pytest

from pets.errors import ConfigError
from pets.models.catalogue import entry_of, has_weights, matching, named
from tests.conftest import train_config


def test_an_entry_tells_size_licence_and_where_the_weights_are() -> None:
    entry = entry_of("lite0", train_config("model=efficientnet_lite0").model)
    # The published counts: 4.7 million for Lite0, 25.6 million for ResNet-50.
    assert (entry.parameters, entry.size, entry.is_here) == (4_652_008, 224, True)
    assert entry.licence == "Apache-2.0"
    resnet = entry_of("resnet50", train_config("model=resnet50").model)
    assert (resnet.parameters, resnet.size, resnet.licence) == (25_557_032, 224, "unknown")


def test_downloaded_weights_are_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = train_config("model=resnet34").model
    assert not has_weights(model)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/resnet34-b627a593.pth").touch()
    assert has_weights(model)
    file = tmp_path / "weights.pth"
    assert not has_weights(model.model_copy(update={"weights": str(file)}))
    file.touch()
    assert has_weights(model.model_copy(update={"weights": str(file)}))


def test_weights_in_the_hubs_cache_are_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = train_config("model=convnext_tiny").model
    assert not has_weights(model)
    folder = tmp_path / "models--timm--convnext_tiny.in12k_ft_in1k"
    (folder / "snapshots/1").mkdir(parents=True)
    (folder / "snapshots/1/model.safetensors").touch()
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("1")
    assert has_weights(model)


def test_a_pattern_finds_timms_names() -> None:
    names = matching("vit*dino*")
    assert "vit_small_patch14_dinov2.lvd142m" in names
    assert all(name.startswith("vit") and "dino" in name for name in names)
    assert matching("no_such*") == []


def test_a_name_that_config_and_timm_have_is_proposed_once() -> None:
    known = {"efficientnet_lite0": train_config("model=efficientnet_lite0").model}
    with pytest.raises(ConfigError, match=r"did you mean efficientnet_lite0, ") as caught:
        named(["efficientnet_lit0"], known)
    assert str(caught.value).count("efficientnet_lite0") == 1
