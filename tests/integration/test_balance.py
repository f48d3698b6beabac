"""Rare classes and other losses in training: resumed, on ranks, on activations, in the finder."""

from __future__ import annotations

import copy
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pets.data.prepare import prepare_photos
from pets.lr_finder.range_test import record
from pets.models.classifier import new_backbone
from pets.training.inputs import prepare_inputs
from pets.training.losses import LOSSES
from pets.training.module import build_stage, new_model
from pets.training.stage import Inputs, Stage
from pets.training.trainer import build_trainer
from tests.conftest import train_config
from tests.integration.conftest import FLOAT, SMALL, Pets
from tests.integration.ranks import start_two_ranks
from tests.integration.runs import metrics, status
from tests.integration.test_stopping import STEPS, Training, assert_same_end


@pytest.fixture(scope="module")
def lopsided(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The override that leaves four of ten photos of half of the breeds."""
    names = sorted(path.name for path in (drawn / "images").iterdir())
    file = tmp_path_factory.mktemp("lopsided") / "photos.txt"
    file.write_text("\n".join(name for name in names if name[0] in "HST" or name[-5] in "0123"))
    return f"data.photo_list={file}"


@pytest.mark.parametrize("kind", ["balanced", "weighted"])
def test_a_balanced_epoch_goes_on_where_it_was_stopped(
    tmp_path: Path, drawn: Path, lopsided: str, kind: str
) -> None:
    args = (
        lopsided, f"data.sampler={kind}", "data.batch_size=5", "loss=focal", "augment=mixup",
        "plan=frozen4", "plan.stages.head.epochs=2",
    )  # fmt: skip
    whole = Training(tmp_path / "whole", drawn, *args)
    whole.finish()
    run = Training(tmp_path / "run", drawn, *args)
    run.stop("batch_start", STEPS + 3, signal.SIGTERM)
    assert run.position == ("head", 1, 3)
    run.run.update_config({"data.num_workers": 2})
    run.finish()
    assert_same_end(run.path, whole.path)


def test_two_ranks_draw_and_weigh_as_one_does(pets: Pets, drawn: Path, lopsided: str) -> None:
    breeds = sorted({path.stem.rsplit("_", 1)[0] for path in (drawn / "images").iterdir()})
    weight = ", ".join(f"{breed}: {number}" for number, breed in enumerate(breeds, 1))
    args = [
        "train", f"data.root={drawn}", lopsided, "data.sampler=balanced", "loss=weighted",
        f"loss.weight={{{weight}}}", "model=efficientnet_lite0", "data.size=96", FLOAT,
        "plan=frozen4", "plan.stages.head.epochs=2", "plan.stages.head.lr=auto",
        "lr_finder.steps=40", "lr_finder.start_lr=1e-5", "precompute=true", "cache_dir=cache",
    ]  # fmt: skip
    pets(*args, "data.batch_size=16", "hydra.run.dir=one")
    two = ["trainer.devices=2", "trainer.accelerator=cpu", "data.batch_size=8", "hydra.run.dir=two"]
    started = start_two_ranks(pets.folder, ["pets", *args, *two])
    assert started.end() == [0, 0], [started.said(0), started.said(1)]
    rates = [status(pets.folder / run)["lr_found"]["head"]["lr"] for run in ("one", "two")]
    assert rates[0] == pytest.approx(rates[1], rel=1e-6)
    for name in ("step", "train_loss", "valid_loss"):
        ours, theirs = ([float(r[name]) for r in metrics(pets.folder / n)] for n in ("two", "one"))
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_minimised_and_has_a_curve(name: str, drawn: Path, tmp_path: Path) -> None:
    """On mixed photos; and on activations, with a validation loss that is the cross-entropy."""
    args = (
        f"cache_dir={tmp_path}",
        "precompute.enabled=true",
        "lr_finder.steps=60",
        "augment=cutmix",
    )
    config = train_config(f"data.root={drawn}", *SMALL, f"loss={name}", *args)
    backbone, preprocess, _ = new_backbone(config.model, config.seed)
    photos = prepare_photos(config.data)
    model = new_model(config, backbone, preprocess, photos.classes)
    plan = config.plan.stages["head"].model_copy(update={"schedule": "constant", "lr": 1e-2})
    mixed = Stage.of_plan("head", plan, Inputs(config.size_of(plan)), config.seed)
    module, data = build_stage(mixed, config, copy.deepcopy(model), photos)
    build_trainer(config.trainer, max_epochs=1).fit(module, datamodule=data)
    assert module.train_loss.compute().isfinite()

    stage = replace(mixed, inputs=prepare_inputs(config, plan, model, photos, 1))
    curve = record(stage, model, photos, config)
    assert len(curve.losses) >= 40
    assert min(curve.losses) < 0.5 * curve.losses[:5].mean()
    module, data = build_stage(stage, config, model, photos)
    trainer = build_trainer(config.trainer, max_epochs=6)
    trainer.fit(module, datamodule=data)
    assert float(module.train_loss.compute()) < 0.5 * curve.losses[:5].mean()
    measured = module.metrics.compute()
    assert measured["accuracy"] >= 0.5
    logits = torch.cat([module.cpu()(x) for x, _ in data.val_dataloader()])
    targets = torch.cat([y for _, y in data.val_dataloader()])
    expected = torch.nn.functional.cross_entropy(logits, targets)
    assert measured["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_weights_for_other_classes_are_refused_before_training(pets: Pets, drawn: Path) -> None:
    weighted = ("loss=weighted", "loss.weight={Harbour_Blue: 1, snow_sled_dog: 2}", *SMALL)
    for command in ("train", "find-lr"):
        small = [word for word in weighted if command == "train" or "plan" not in word]
        assert pets.one_line(command, f"data.root={drawn}", *small) == (
            "loss.weight: has no number for Silk_Sealpoint, Slate_Fold, Tabby_Marmalade and 5 "
            "more; expected one for each of the 10 classes"
        )
