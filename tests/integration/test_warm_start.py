"""A training that begins from a run: backbone, head where it fits, and photos held out."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pets.data.photos import Photos
from pets.errors import WeightsError
from pets.models.classifier import Classifier
from pets.training.module import new_model
from pets.training.warm_start import initial_backbone, take_over_head
from tests.conftest import train_config
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import same, status, weights

BODY = "plan.stages.body.epochs=3"


def begun(run: Path, photos: Photos, *overrides: str) -> Classifier:
    """The network with which `pets train model.weights=<run>` begins on these photos."""
    config = train_config("data=demo", "data.size=96", *overrides, f"model.weights={run}")
    backbone, preprocess, _ = initial_backbone(config)
    model = new_model(config, backbone, preprocess, photos.classes)
    take_over_head(config, model, photos)
    return model


def part(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tensors of the backbone or the head."""
    return {
        key: value
        for k, value in tensors.items()
        if (key := k.removeprefix("model.")).startswith(name)
    }


@pytest.fixture
def photos(trained: Path, drawn: Path) -> Photos:
    return Photos.load(trained / "photos.csv", drawn)


@pytest.mark.core
def test_unfreezing_after_looking_is_the_lesson_in_two_commands(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    pets("train", f"data.root={drawn}", *SMALL[:-1], "plan=frozen4")
    (frozen,) = pets.runs()
    last = frozen / "checkpoints/last.ckpt"
    args = [f"data.root={drawn}", *SMALL[:-2], "plan=unfrozen", BODY, f"model.weights={last}"]
    output = pets("train", *args).stdout
    run = pets.runs()[-1]
    assert same(weights(run), weights(trained)), "bit for bit what both stages in one run give"
    assert status(run)["results"] == status(trained)["results"]
    assert f"model.weights={last}: backbone and head (10 classes)" in output
    assert "are training photos of" not in output, "the same photos are held out"


def test_a_run_and_its_export_begin_with_the_same_network(
    trained: Path, pets: Pets, photos: Photos, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pets("export", f"run={trained}", "to=safetensors", "ckpt=best", "out=exports")
    folder = pets.folder / "exports/safetensors"
    own = begun(trained, photos).state_dict()
    for weights_of in (folder, folder / "model.safetensors"):
        assert same(begun(weights_of, photos).state_dict(), own)
        assert "backbone and head (10 classes)" in caplog.text
    assert "an export does not name its training photos" in caplog.text

    about = json.loads((folder / "config.json").read_text())
    about["architecture"]["pooling"] = "maximum_average"
    (folder / "config.json").write_text(json.dumps(about))
    assert not begun(folder, photos).state_dict()["head.linear.weight"].any()
    assert "the export's layers are not those of pets.models.heads.LinearHead" in caplog.text
    for text, line in (
        ("{}", "does not describe an export of pets export to=safetensors (KeyError"),
        (json.dumps(about | {"classes": 7}), "does not describe its network (: Input should be"),
    ):
        (folder / "config.json").write_text(text)
        with pytest.raises(WeightsError) as error:
            begun(folder, photos)
        assert line in str(error.value)


def test_the_head_starts_fresh_where_it_does_not_fit(
    trained: Path, photos: Photos, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old = weights(trained)
    few = Photos(photos.root, tuple(p for p in photos.rows if p.label in photos.classes[:3]))
    turned = Photos(photos.root, photos.rows, tuple(photos.classes[::-1]))
    last = trained / "checkpoints/last.ckpt"
    for other, overrides, reason in (
        (few, (), "the classes here are others: without "),
        (turned, (), "its classes are in another order"),
        (photos, ("model/head=concat_pool",), "the run's is pets.models.heads.LinearHead, the con"),
    ):
        caplog.clear()
        model = begun(last, other, *overrides)
        assert same(part(model.state_dict(), "backbone"), part(old, "backbone"))
        assert not list(model.head.parameters())[-1].any(), "the last layer starts at zero"
        assert f"the head starts fresh: {reason}" in caplog.text


def test_held_out_photos_that_the_run_was_trained_on_are_counted(
    trained: Path, drawn: Path, photos: Photos, caplog: pytest.LogCaptureFixture
) -> None:
    training = {photo.path for photo in photos.of("train")[:5]}
    rows = tuple(
        replace(p, split="valid") for p in photos.rows if p.path in training or p.split == "valid"
    )
    begun(trained, Photos(drawn, rows, tuple(photos.classes)))
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.startswith(
        f"5 of the {len(rows)} validation and test photos are training photos of"
    )


def test_what_is_no_run_and_other_architectures_are_one_line(trained: Path, pets: Pets) -> None:
    (pets.folder / "empty").mkdir()
    moved = pets.folder / "moved"
    shutil.copytree(trained, moved)
    (moved / "checkpoints/best.ckpt").unlink()
    for args, line in (
        (["model.weights=empty"], "empty: is neither a run directory nor an export to safetensors"),
        (["model.weights=nowhere"], "nowhere: no such file; expected default, package, none, a f"),
        (["model.weights=moved"], "model.weights=moved: a run (finished) without best.ckpt; exp"),
        (
            [f"model.weights={trained}", "model=resnet18"],
            "is a tf_efficientnet_lite0 of timm, not the config's resnet18 of torchvision; choose",
        ),
    ):
        for command in ("train", "find-lr"):
            # Photos that are not there: none is looked at before.
            assert line in pets.one_line(command, "data=folder", "data.root=gone", *args)
