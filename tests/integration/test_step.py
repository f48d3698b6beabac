"""What a training step can be told: sizes, averaged weights, smoothed labels, precision."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch.nn import functional as F

from pets.data.prepare import prepare_photos
from pets.models.classifier import new_backbone
from pets.system.devices import device_type, fast_precision, resolve_precision
from pets.training.checkpoints import read_checkpoint
from pets.training.datamodule import PetsDataModule
from pets.training.losses import new_loss
from pets.training.measures import build_callbacks
from pets.training.module import ClassifierModule, new_model
from pets.training.stage import Inputs, Stage
from pets.training.trainer import build_trainer
from tests.conftest import train_config
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, scalars, status, weights
from tests.integration.test_resume import killed_after


def learner(drawn: Path, *args: str) -> tuple[ClassifierModule, PetsDataModule, Any]:
    """A module about to train its head, its data and its config."""
    config = train_config(f"data.root={drawn}", *SMALL, "trainer.accelerator=cpu", *args)
    backbone, preprocess, _ = new_backbone(config.model, config.seed)
    photos = prepare_photos(config.data)
    model = new_model(config, backbone, preprocess, photos.classes)
    plan = config.plan.stages["head"]
    stage = Stage.of_plan("head", plan, Inputs(config.size_of(plan)), config.seed)
    data = PetsDataModule(config.data, config.augment, preprocess, photos, stage.inputs, stage)
    return ClassifierModule(model, config, stage), data, config


def test_small_pictures_first(pets: Pets, drawn: Path) -> None:
    args = ("plan=progressive", *SMALL[:5], "plan.stages.body.epochs=2")
    sizes = ("plan.stages.head_small.size=64", "plan.stages.body_small.size=80")
    pets("train", f"data.root={drawn}", *args, *sizes)
    (run,) = pets.runs()
    stages = [row["stage"] for row in metrics(run)]
    assert stages == ["head_small"] * 4 + ["body_small"] * 2 + ["body"] * 2
    assert read_checkpoint(run / "checkpoints/last.ckpt")["pets"]["size"] == [96, 96]
    pets("eval", f"run={run}", "split=test")
    result = json.loads((run / "eval/test_last.json").read_text())
    assert result["loss"] == pytest.approx(status(run)["results"]["test"]["loss"], abs=1e-6)


def test_each_stage_gets_pictures_of_its_size_and_checkpoints_say_which(
    pets: Pets, drawn: Path
) -> None:
    short = ("plan.stages.head.epochs=2", "plan.stages.body.epochs=2")
    given = ("plan.stages.head.size=[64,48]", "plan.stages.body.size=128")
    pets("train", f"data.root={drawn}", *SMALL[:5], *short, *given)
    (run,) = pets.runs()
    assert read_checkpoint(run / "checkpoints/last.ckpt")["pets"]["size"] == [128, 128]
    pets("eval", f"run={run}", "split=valid")
    result = json.loads((run / "eval/valid_last.json").read_text())
    assert result["loss"] == pytest.approx(status(run)["results"]["valid"]["loss"], abs=1e-6)


def test_a_network_that_takes_one_size_only_says_so(pets: Pets, drawn: Path) -> None:
    vit = ("model=timm", "model.name=vit_tiny_patch16_224", "model.weights=none")
    output = pets("train", f"data.root={drawn}", *vit, "data.size=96", code=1).stderr.splitlines()
    assert output[-1] == (
        "plan.stages.head: vit_tiny_patch16_224 takes no pictures of 96 x 96 pixels; expected "
        "data.size=auto (224 x 224) or another model.args.img_size"
    )
    args = ("train", f"data.root={drawn}", *vit, "data.size=auto", "model.args.img_size=100")
    assert pets(*args, code=1).stderr.splitlines()[-1] == (
        "model.args.img_size=100: expected a multiple of the 16 pixels of the network's patches, "
        "as 96 or 112"
    )
    args = ("train", f"data.root={drawn}", *vit, "data.size=128", "model.args.img_size=112")
    assert pets(*args, code=1).stderr.splitlines()[-1] == (
        "model.args.img_size=112: the photos of plan.stages.head have 128 x 128 pixels; expected "
        "an img_size like theirs, or data.size=auto (112 x 112)"
    )


class Weights(Callback):
    """The head's weights after every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *about: Any) -> None:
        self.seen.append(pl_module.model.head.linear.weight.detach().clone())


def test_ema_validates_and_keeps_the_average_of_the_weights(drawn: Path) -> None:
    module, data, config = learner(drawn, "callbacks=ema", "callbacks.ema.decay=0.6")
    seen = Weights()
    (ema,) = [c for c in build_callbacks(config) if isinstance(c, EMAWeightAveraging)]
    build_trainer(config.trainer, max_epochs=2, callbacks=[seen, ema]).fit(module, datamodule=data)
    assert len(seen.seen) == 6
    average = seen.seen[0]
    for weight in seen.seen[1:]:
        average = 0.6 * average + 0.4 * weight
    torch.testing.assert_close(module.model.head.linear.weight.detach(), average)
    assert not torch.allclose(average, seen.seen[-1], rtol=1e-2)


def test_a_run_with_ema_is_killed_and_resumed_to_the_same_end(pets: Pets, drawn: Path) -> None:
    ema = ("callbacks=ema", "callbacks.ema.decay=0.6", "plan=frozen4", *SMALL[:5])
    pets("train", f"data.root={drawn}", *ema)
    (whole,) = pets.runs()
    other = Pets(pets.folder / "other")
    other.folder.mkdir()
    run = killed_after(other, 2, f"data.root={drawn}", *ema)
    other("train", f"resume={run}")
    assert metrics(run) == metrics(whole)
    assert same(weights(run), weights(whole))
    other("eval", f"run={run}", "split=valid")
    result = json.loads((run / "eval/valid_last.json").read_text())
    assert result["loss"] == pytest.approx(float(metrics(run)[-1]["valid_loss"]), abs=1e-6)


def test_labels_are_smoothed_in_training_only(drawn: Path) -> None:
    plain, data, _ = learner(drawn)
    smooth, _, _ = learner(drawn, "loss.label_smoothing=0.2")
    data.trainer = None
    photos, targets = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    logits = plain(photos)
    assert float(plain.training_step((photos, targets), 0)) == pytest.approx(
        float(F.cross_entropy(logits, targets)), abs=1e-6
    )
    wrong = -logits.log_softmax(1).mean()
    right = F.cross_entropy(logits, targets)
    expected = 0.8 * float(right) + 0.2 * float(wrong)
    assert float(smooth.training_step((photos, targets), 0)) == pytest.approx(expected, abs=1e-6)
    smooth.validation_step((photos, targets), 0)
    assert smooth.metrics.compute()["loss"] == pytest.approx(float(right), abs=1e-6)


def test_gradients_are_clipped_and_accumulated(drawn: Path) -> None:
    norms: list[float] = []

    class Norms(Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            result = [p.grad for p in pl_module.parameters() if p.grad is not None]
            norms.append(math.sqrt(sum(float(g.square().sum()) for g in result)))

    module, data, config = learner(
        drawn, "trainer.gradient_clip_val=0.05", "trainer.accumulate_grad_batches=3"
    )
    fit = build_trainer(config.trainer, max_epochs=4, callbacks=[Norms()])
    fit.fit(module, datamodule=data)
    assert fit.global_step == 4  # three batches an epoch
    assert len(norms) == 4
    steps = [state["exp_avg"].norm() for state in fit.optimizers[0].state.values()]
    assert max(norms) > 0.05
    assert max(steps) < 0.05


def test_precision_is_what_the_device_is_fast_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert fast_precision("cpu") == "32-true"
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: True)
    assert fast_precision("cpu") == "bf16-mixed"
    for bf16, precision in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda bf16=bf16, **_: bf16)
        assert fast_precision("cuda") == precision
    assert fast_precision("mps") == "32-true"
    chosen = resolve_precision({"accelerator": "cpu", "precision": "auto", "devices": 1})
    assert chosen == {"accelerator": "cpu", "precision": "bf16-mixed", "devices": 1}
    assert (
        resolve_precision({"accelerator": "cpu", "precision": "64-true"})["precision"] == "64-true"
    )
    assert device_type("cpu") == "cpu"


def test_a_run_says_how_fast_it_was_and_what_would_help(trained: Path) -> None:
    log = (trained / "train.log").read_text()
    assert log.count(" images/s, ") == 2
    assert log.count(" % of the time waiting for them") == 2
    speed = status(trained)["speed"]
    assert set(speed) == {"head", "body"}
    for stage in speed.values():
        assert stage["images_per_second"] > 0
        assert 0 < stage["waited"] < 1
    shares = [point.value for point in scalars(trained, "speed/waited")]
    assert len(shares) == 5
    assert all(0 < share < 1 for share in shares)


def test_a_loss_of_ones_own_is_trained_on_mixed_and_on_plain_labels(drawn: Path) -> None:
    """It may be torch's, or one that weighs classes; losses of single photos are averaged."""
    own = "loss._target_=tests.integration.test_step.weighted"
    args = ("augment=cutmix", "loss=own", own, "+loss.power=0.5")
    constant = "plan.stages.head.schedule=constant"
    module, data, config = learner(drawn, *args, constant)
    module.loss = new_loss(config.loss, torch.tensor([4.0] * 10))
    build_trainer(config.trainer, max_epochs=1).fit(module, datamodule=data)
    assert math.isfinite(float(module.train_loss.compute()))
    logits, targets = torch.randn(3, 10), torch.tensor([1, 2, 3])
    loss = new_loss(config.loss, torch.tensor([4.0] * 10))(logits, targets)
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets, reduction="none") / 2)
    torchs, _, _ = learner(drawn, "loss=own", "loss._target_=torch.nn.CrossEntropyLoss")
    assert torch.equal(torchs.loss(logits, targets), F.cross_entropy(logits, targets))


def weighted(class_counts: torch.Tensor, power: float) -> Any:
    """Cross-entropy of each photo, divided by a power of the size of its class."""

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        weight = class_counts**-power
        return F.cross_entropy(logits, targets, weight.to(logits.device), reduction="none")

    return loss
