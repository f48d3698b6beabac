"""A published transformer with a class token: trained with adapters, used, exported; bad values."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.fast.models.test_pooling import published
from tests.integration.conftest import FLOAT, Pets
from tests.integration.runs import status, weights


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Pets:
    """A folder with a run; the files of the weights are gone."""
    pets = Pets(tmp_path_factory.mktemp("vit"))
    (pets.folder / "net").mkdir()
    published(pets.folder / "net")
    pets(
        "train", f"data.root={drawn}", "model=timm", "model.name=local-dir:net", "data.size=auto",
        "data.batch_size=8", "data.num_workers=0", FLOAT, "precompute=true",
        "plan.stages.head.epochs=2", "plan.stages.body.epochs=1", "model/head=batch_norm",
        "model.grad_checkpointing=true", "model.lora={r: 2, alpha: 4}", "report=true",
    )  # fmt: skip
    for file in (pets.folder / "net").iterdir():
        file.unlink()
    return pets


def test_the_run_names_architecture_arguments_and_size(vit: Pets) -> None:
    (run,) = vit.runs()
    config = yaml.safe_load((run / "config.yaml").read_text())
    model = config["model"]
    assert (config["data"]["size"], model["name"]) == (64, "test_vit")
    assert model["args"] == {"img_size": [64, 64]}
    assert model["weights"] == "local-dir:net"
    assert any("lora_A" in name for name in weights(run))
    page = (run / "report.html").read_text()
    assert "There is no Grad-CAM: its head sees only the class token" in page


def test_it_is_evaluated_and_exported_without_the_files(vit: Pets) -> None:
    (run,) = vit.runs()
    before = status(run)["results"]["test"]["loss"]
    output = vit("eval", f"run={run}", "data.num_workers=0").stdout
    assert f"{before:.4f}" in output
    output = vit("export", f"run={run}", "to=[safetensors,onnx,hub]", "data.num_workers=0").stdout
    assert output.count("20 of 20 valid photos get the same class") == 3
    # What was exported is published in turn.
    again = f"model.name=local-dir:{run / 'export/hub'}"
    output = vit(
        "find-lr", "model=timm", again, f"data.root={yaml_root(run)}", "data.size=auto",
        "data.batch_size=8", "data.num_workers=0", "lr_finder.steps=30", FLOAT,
    ).stdout  # fmt: skip
    assert "suggests plan.stages.head.lr=" in output


def yaml_root(run: Path) -> str:
    return str(yaml.safe_load((run / "config.yaml").read_text())["data"]["root"])


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["model.name=resnet10t", "model.pool=token"], "model.pool=token: resnet10t has no class"),
        (["model.name=test_vit", "+model.args.depht=2"], "model.args.depht: VisionTransformer"),
        (
            ["model.name=resnet10t", "model.lora={r: 2, alpha: 1}"],
            "model.lora: this network has no",
        ),
        (
            ["model.name=test_vit", "model.lora={r: 2, alpha: 1}", "plan=frozen4"],
            "model.lora has no effect: no stage trains the backbone",
        ),
        (
            ["model.name=test_vit", "model.grad_checkpointing=true", "plan=frozen4"],
            "model.grad_checkpointing has no effect: no stage trains the backbone",
        ),
    ],
)
def test_bad_values_are_one_line_before_photos_are_read(
    pets: Pets, args: list[str], line: str
) -> None:
    words = (
        "model=timm",
        "model.weights=none",
        "data=folder",
        "data.root=nowhere",
        "data.size=auto",
    )
    output = pets("train", *words, *args, code=1).stderr.strip().splitlines()
    assert output[-1].startswith(line)
    assert not pets.runs()
