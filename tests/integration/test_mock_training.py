"""The lr finder's mock training: it changes nothing, and measures the same anywhere."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from pets.config import FinderConfig, StageConfig
from pets.data.prepare import prepare_photos
from pets.errors import DataError
from pets.lr_finder.curve import Curve
from pets.lr_finder.range_test import record
from pets.models.classifier import new_backbone
from pets.training.module import new_model
from pets.training.stage import Inputs, Stage
from tests.conftest import train_config
from tests.integration.ranks import on_two_ranks

# In float32: what one step computes differently in half precision, the next ones magnify.
TINY = (
    "data.size=64", "data.batch_size=16", "data.num_workers=0", "trainer.precision=32-true",
)  # fmt: skip


class RatesSeen(torch.optim.AdamW):
    """AdamW that notes the rates of its groups at every step."""

    seen: ClassVar[list[list[float]]] = []

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        self.seen.append([group["lr"] for group in self.param_groups])
        return result


class Bench:
    """A fresh module and its data; records curves."""

    def __init__(self, drawn: Path, *overrides: str) -> None:
        config = train_config(f"data.root={drawn}", *TINY, *overrides)
        backbone, preprocess, _ = new_backbone(config.model, config.seed)
        photos = prepare_photos(config.data)
        self.config = config
        self.photos = photos
        self.model = new_model(config, backbone, preprocess, photos.classes)

    def record(self, freeze_to: int = -1, lr: Any = "auto", **finder: Any) -> Curve:
        """The curve of a stage."""
        settings = {"start_lr": 1e-6, "end_lr": 10.0, "steps": 30, "method": ["valley"], **finder}
        plan = StageConfig(
            freeze_to=freeze_to, epochs=1, lr=lr, schedule="one_cycle", pct_start=0.3, div=25.0,
            size=None,
        )  # fmt: skip
        changed = {"lr_finder": FinderConfig.model_validate(settings)}
        config = self.config.model_copy(update=changed)
        stage = Stage.of_plan("head", plan, Inputs(config.size_of(plan)), config.seed)
        return record(stage, self.model, self.photos, config)


@pytest.fixture(scope="module")
def bench(drawn: Path) -> Bench:
    return Bench(drawn)


def everything(bench: Bench) -> dict[str, Any]:
    """All that mock training could change."""
    model = bench.model
    return {
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "trains": {k: p.requires_grad for k, p in model.named_parameters()},
        "gradients": [p.grad is None for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "size": model.size,
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],
        "python": random.getstate(),
    }


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else a == b


@pytest.mark.parametrize("freeze_to", [-1, 4, 0])
def test_mock_training_changes_nothing_at_any_freeze_level(bench: Bench, freeze_to: int) -> None:
    before = everything(bench)
    curve = bench.record(freeze_to)
    after = everything(bench)
    for name in before:
        assert equal(before[name], after[name]), name
    # More steps than an epoch of 60 photos has: the loader is cycled.
    assert len(curve.losses) > 60 // 16
    assert curve.lrs[:2] == pytest.approx([1e-6, 1e-6 * 1e7 ** (1 / 29)])
    assert np.diff(np.log(curve.lrs)) == pytest.approx(np.log(1e7) / 29)
    # A last layer of zeros: the first loss is that of guessing among ten.
    assert curve.losses[0] == pytest.approx(np.log(10), abs=1e-5)
    assert curve.losses.min() < 2.0


def test_the_same_seed_gives_the_same_curve(drawn: Path, bench: Bench) -> None:
    first, second, other = bench.record(), bench.record(), Bench(drawn, "seed=1").record()
    assert (first.losses == second.losses).all()
    assert (first.losses[3:8] != other.losses[3:8]).all()


def test_groups_keep_their_ratios(drawn: Path) -> None:
    bench = Bench(drawn, "optimizer._target_=tests.integration.test_mock_training.RatesSeen")
    for lr, low in (("auto", 1.0), (("auto/100", "auto"), 0.01), ((1e-6, 1e-4), 0.01)):
        RatesSeen.seen.clear()
        curve = bench.record(freeze_to=0, lr=lr)
        seen = np.array(RatesSeen.seen)[: len(curve.lrs)]
        assert seen[:, -1] == pytest.approx(curve.lrs)
        assert seen[:, 0] == pytest.approx(low * curve.lrs)
        ratios = seen / seen[:, -1:]
        assert ratios == pytest.approx(np.broadcast_to(ratios[0], ratios.shape))


def test_accumulated_batches_are_one_step(drawn: Path) -> None:
    bench = Bench(drawn, "trainer.accumulate_grad_batches=3", "data.batch_size=4")
    curve = bench.record(end_lr=1e-3)
    assert len(curve.lrs) == len(curve.losses) == 30
    assert curve.photos == 30 * 3 * 4
    assert curve.ended == "finished"
    # The mean over the step, and one step: what a batch three times as large gives.
    whole = Bench(drawn, "data.batch_size=12").record(end_lr=1e-3)
    assert curve.losses == pytest.approx(whole.losses, rel=1e-3)


def test_mixed_precision_gives_nearly_the_same_curve(drawn: Path, bench: Bench) -> None:
    half = Bench(drawn, "trainer.precision=bf16-mixed").record(end_lr=1e-2)
    assert half.losses == pytest.approx(bench.record(end_lr=1e-2).losses, abs=0.15)


def test_it_stops_when_the_loss_explodes_or_is_no_number(bench: Bench) -> None:
    curve = bench.record(steps=60)
    assert curve.ended.startswith("the loss rose to 4 times its lowest at ")
    assert len(curve.losses) < 60
    curve = bench.record(start_lr=1e30, end_lr=1e38)
    assert curve.ended.startswith(("the loss became nan at", "the loss became inf at"))
    assert np.isfinite(curve.losses).all()
    assert len(curve.losses) < 30
    assert all("usable points of" in str(why) for why in curve.suggestions().values())


def test_an_exploding_loss_is_no_anomaly(drawn: Path, bench: Bench) -> None:
    curve = Bench(drawn, "trainer.detect_anomaly=true").record(end_lr=1e-3)
    assert curve.ended == "finished"
    assert (curve.losses == bench.record(end_lr=1e-3).losses).all()


def test_a_data_set_smaller_than_a_batch_is_refused(drawn: Path) -> None:
    bench = Bench(drawn, "data.batch_size=64")
    with pytest.raises(DataError, match="60 training photos do not fill a batch of 64, "):
        bench.record()


def test_two_ranks_take_the_same_rate(drawn: Path, tmp_path: Path) -> None:
    """Real processes over gloo: other photos each, one loss, one stop, one suggestion."""
    args = [f"data.root={drawn}", *TINY, "lr_finder.steps=60", "lr_finder.start_lr=1e-5"]
    outs = [tmp_path / f"{rank}.json" for rank in range(2)]
    on_two_ranks("tests.integration.two_ranks", outs, args)
    first, second = (json.loads(out.read_text()) for out in outs)
    assert first["points"] == second["points"]
    assert first["choice"] == second["choice"]
    assert first["ended"] == second["ended"]
    assert first["ended"].startswith("the loss rose to 4 times its lowest")
    assert first["photos"] == 2 * 16 * first["steps"]
    # Two ranks with 16 photos each see what one with 32 sees: the mean loss, the same next step.
    alone = Bench(drawn, "data.batch_size=32").record(steps=60, start_lr=1e-5)
    losses = np.array([point["loss"] for point in first["points"]])
    assert losses[:40] == pytest.approx(alone.losses[:40], rel=1e-3)
