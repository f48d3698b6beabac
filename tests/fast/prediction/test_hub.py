"""A model in the hub's layout: opened by timm and by `pets predict`, and what a push would send."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch

from pets.config import ExportConfig
from pets.config.validation import typed
from pets.errors import ConfigError, RunError
from pets.export import hub
from pets.export.push import check_push, push
from pets.prediction.hub import hub_folder, load_hub
from tests.conftest import composed
from tests.fast.export.test_export import SIZE, classifier, metadata


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = classifier("model/head=batch_norm")
    hub.write(tmp_path, metadata(model))
    return tmp_path


def export_config(*overrides: str) -> ExportConfig:
    return typed(ExportConfig, composed("run=r", "to=hub", *overrides, name="export"))


@torch.no_grad()
def test_timm_and_pets_open_it_with_the_runs_predictions(folder: Path) -> None:
    run = classifier("model/head=batch_norm")
    model, temperature, weights = load_hub(hub_folder(str(folder)))
    assert model.classes == run.classes == ["Bengal", "beagle", "pug"]
    assert (model.preprocess, model.size) == (run.preprocess, SIZE)
    assert temperature == 2.0
    assert weights.name == "model.safetensors"
    photos = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    expected = run(photos)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    for logits in (model(photos), theirs(photos)):
        assert torch.allclose(logits, expected, atol=1e-4 * float(expected.abs().max()))


def test_other_folders_and_changed_files_are_one_line(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    about = json.loads(text)
    for changed, line in (
        ({**about, "pets": None}, "config.json: is not of pets export to=hub (pets: Input should"),
        ({**about, "label_names": about["label_names"][:2]}, "does not fit its config.json"),
        ({**about, "architecture": "resnet18"}, "does not fit its config.json"),
    ):
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(RunError) as error:
            load_hub(folder)
        assert line in str(error.value)
        assert "\n" not in str(error.value)
    # An address instead of an architecture is not contacted.
    (folder / "config.json").write_text(json.dumps({**about, "architecture": "hf-hub:a/b"}))
    with pytest.raises(ConfigError, match=r"hf-hub:a/b: timm has no such architecture"):
        load_hub(folder)


def test_without_a_network_the_hub_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunError) as error:
        hub_folder("hf-hub:user/pets")
    assert str(error.value) == (
        "run=hf-hub:user/pets: cannot be downloaded (http://127.0.0.1:9 cannot be reached, and it "
        "is not in the cache); expected hf-hub:user/name, or the folder of an export"
    )


def test_a_dry_run_shows_what_would_be_uploaded(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    (folder / "predictions").mkdir()
    config = export_config("push=user/pets", "dry_run=true")
    check_push(config)
    push(folder, config)
    assert "push=user/pets: the card says license: other; licence=... chooses one" in caplog.text
    first, *files = [record.getMessage() for record in caplog.records][1:]
    assert first == "dry_run: would upload to http://127.0.0.1:9/user/pets (private if it is new):"
    assert [line.split()[0] for line in files] == ["config.json", "model.safetensors"]
    size = (folder / "model.safetensors").stat().st_size
    assert files[1].split()[1:] == [f"{size:,}", "bytes"]


def test_without_a_token_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pets.export.push.get_token", lambda: None)
    with pytest.raises(ConfigError, match=r"^push=user/pets: there is no token of .*hf auth login"):
        check_push(export_config("push=user/pets", "licence=mit"))
    # And with one that nobody can check.
    monkeypatch.setattr("pets.export.push.get_token", lambda: "hf_x")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"^push=user/pets: http://127.0.0.1:9 does not accept"):
        check_push(export_config("push=user/pets", "licence=mit"))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["push=pets"], "push=pets: expected user/name of a repository on the Hugging Face hub"),
        (["push=a/b", "to=onnx"], "push=a/b with to=onnx: needs to=hub"),
        (["dry_run=true"], "dry_run has no effect without push=user/name"),
        (["private=false"], "private has no effect without push=user/name"),
        (["licence='MIT License'"], "licence=MIT License: expected an identifier of the hub's"),
    ],
)
def test_a_wrong_key_is_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        export_config(*overrides)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_the_licence_is_in_card_and_config(tmp_path: Path) -> None:
    from dataclasses import replace

    about = replace(metadata(classifier("model/head=batch_norm")), licence="apache-2.0")
    hub.write(tmp_path, about)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["pretrained_cfg"]["license"] == "apache-2.0"
