"""The lr finder: its mock training changes nothing, its rates reach the optimizer."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pets.config import FinderConfig, StageConfig
from pets.data.module import PetsDataModule, prepare_photos
from pets.errors import DataError
from pets.finder.curve import Curve
from pets.finder.mock_training import record
from pets.models.classifier import new_body
from pets.plan.transfer import TransferModule, new_module
from tests.conftest import train_config
from tests.fast.test_rates import one_cycle
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, scalars, status, weights

TINY = ("data.size=64", "data.batch_size=16", "data.num_workers=0")


class RatesSeen(torch.optim.AdamW):
    """AdamW that notes the rates of its groups at every step."""

    seen: ClassVar[list[list[float]]] = []

    def step(self, closure: Any = None) -> Any:
        found = super().step(closure)
        self.seen.append([group["lr"] for group in self.param_groups])
        return found


class Bench:
    """A fresh module and its data; records curves."""

    def __init__(self, drawn: Path, *overrides: str) -> None:
        config = train_config(f"data.root={drawn}", *TINY, *overrides)
        body, preprocess, _ = new_body(config.model)
        photos = prepare_photos(config.data)
        self.config = config
        self.module: TransferModule = new_module(config, body, preprocess, photos.classes)
        self.data = PetsDataModule(config.data, config.augment, preprocess, photos, config.seed)

    def record(self, freeze_to: int = -1, lr: Any = "auto", **finder: Any) -> Curve:
        """The curve of a stage."""
        settings = {"start_lr": 1e-6, "end_lr": 10.0, "steps": 30, "method": ["valley"], **finder}
        stage = StageConfig(
            freeze_to=freeze_to, epochs=1, lr=lr, schedule="one_cycle", pct_start=0.3, div=25.0
        )
        return record(
            self.module, self.data, "head", stage,
            FinderConfig.model_validate(settings), self.config.trainer,
        )  # fmt: skip


@pytest.fixture(scope="module")
def bench(drawn: Path) -> Bench:
    return Bench(drawn)


def everything(bench: Bench) -> dict[str, Any]:
    """All that mock training could change."""
    module = bench.module
    return {
        "weights": {k: v.clone() for k, v in module.state_dict().items()},
        "trains": {k: p.requires_grad for k, p in module.named_parameters()},
        "gradients": [p.grad is None for p in module.parameters()],
        "modes": [m.training for m in module.modules()],
        "progress": copy.deepcopy(module.progress),
        "stage": (module.stage, module.stage_seed, bench.data.stage),
        "trainers": (module._trainer, bench.data.trainer),
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
    bench = Bench(drawn, "optimizer._target_=tests.integration.test_lr_finder.RatesSeen")
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


def test_limits_of_the_trainer_do_not_end_it(drawn: Path, bench: Bench) -> None:
    limits = ("+trainer.max_time=00:00:00:01", "+trainer.max_steps=3", "+trainer.fast_dev_run=true")
    curve = Bench(drawn, *limits, "+trainer.detect_anomaly=true").record(end_lr=1e-3)
    assert curve.ended == "finished"
    assert (curve.losses == bench.record(end_lr=1e-3).losses).all()
    none = Bench(drawn, "+trainer.limit_train_batches=0").record()
    assert none.ended == "ended by the Trainer, 0 of 30 steps"


def test_a_data_set_smaller_than_a_batch_is_refused(drawn: Path) -> None:
    bench = Bench(drawn, "data.batch_size=64")
    with pytest.raises(DataError, match="60 training photos do not fill a batch of 64, "):
        bench.record()


def test_two_ranks_take_the_same_rate(drawn: Path, tmp_path: Path) -> None:
    """Real processes over gloo: other photos each, one loss, one stop, one suggestion."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [f"data.root={drawn}", *TINY, "lr_finder.steps=60", "lr_finder.start_lr=1e-5"]
    processes = []
    for rank in range(2):
        env = {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2",
            "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1",
            # As torchrun sets it: the ranks exist already, Lightning starts none.
            "TORCHELASTIC_RUN_ID": "none", "PYTHONPATH": str(Path(__file__).parents[2]),
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.integration.two_ranks"]
        processes.append(
            subprocess.Popen(
                [*command, str(tmp_path / f"{rank}.json"), *words],
                env=os.environ | env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    for process in processes:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["points"] == second["points"]
    assert first["choice"] == second["choice"]
    assert first["ended"] == second["ended"]
    assert first["ended"].startswith("the loss rose to 4 times its lowest")
    assert first["photos"] == 2 * 16 * first["steps"]
    # Two ranks with 16 photos each see what one with 32 sees: the mean loss, the same next step.
    alone = Bench(drawn, "data.batch_size=32").record(steps=60, start_lr=1e-5)
    losses = np.array([point["loss"] for point in first["points"]])
    assert losses[:40] == pytest.approx(alone.losses[:40], rel=1e-3)


def pictures(run: Path) -> set[str]:
    """The tags of the pictures in TensorBoard."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    return set(events.Reload().Tags()["images"])


def recorded(run: Path, group: str) -> list[float]:
    """The rates of a layer group, step by step."""
    return [event.value for event in scalars(run, f"lr/{group}")]


def cycle(steps: int, peak: float) -> list[float]:
    """The closed form of a stage's rates."""
    return [one_cycle(step, steps, peak, max(0.3, 2 / steps), 25.0)[0] for step in range(steps)]


FEW = ("lr_finder.steps=40", "lr_finder.start_lr=1e-6")


def test_the_callback_shows_every_stage_and_changes_nothing(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    said = pets("train", f"data.root={drawn}", *SMALL, *FEW, "callbacks=lr_finder").stdout
    (run,) = pets.runs()
    assert metrics(run) == metrics(trained)
    assert same(weights(run), weights(trained))
    for stage in ("head", "body"):
        found = json.loads((run / f"lr_finder/{stage}.json").read_text())
        assert found["steps"] == len(found["points"]) <= 40
        with Image.open(run / f"lr_finder/{stage}.png") as picture:
            assert picture.width >= 900
        assert f"picture {run.relative_to(pets.folder)}/lr_finder/{stage}.png" in said
    assert pictures(run) == {"lr_finder/head", "lr_finder/body"}
    factors = json.loads((run / "lr_finder/body.json").read_text())["factors"]
    assert list(factors.values()) == pytest.approx([100 ** (place / 8 - 1) for place in range(9)])
    assert "lr_found" not in status(run)


def test_auto_reaches_the_optimizer(pets: Pets, drawn: Path) -> None:
    head, body = "plan.stages.head.lr", "plan.stages.body.lr"
    pets("train", f"data.root={drawn}", *SMALL, *FEW, f"{head}=auto/2", f"{body}=[auto/100,auto]")
    (run,) = pets.runs()
    found = status(run)["lr_found"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    for stage, asked in (("head", "auto/2"), ("body", ["auto/100", "auto"])):
        assert found[stage]["asked"] == asked
        assert found[stage]["lr"] == config["plan"]["stages"][stage]["lr"]
        curve = json.loads((run / f"lr_finder/{stage}.json").read_text())
        assert found[stage]["found"] == curve["suggestions"][found[stage]["method"]]
    assert found["head"]["method"] == "valley"
    assert found["head"]["lr"] == pytest.approx(found["head"]["found"] / 2, rel=5e-3)
    assert list(found["head"]["groups"]) == ["head"]
    assert found["body"]["lr"] == pytest.approx(
        [found["body"]["found"] / 100, found["body"]["found"]], rel=5e-3
    )
    # What was recorded while training: each group's cycle is the one that peaks at its rate.
    for group, rate in found["body"]["groups"].items():
        assert recorded(run, group)[6:] == pytest.approx(cycle(9, rate), rel=1e-5)
    assert recorded(run, "head")[:6] == pytest.approx(cycle(6, found["head"]["lr"]), rel=1e-5)

    # The same rates given as numbers are the same training.
    given = {stage: str(found[stage]["lr"]).replace(" ", "") for stage in found}
    rates = [f"{head}={given['head']}", f"{body}={given['body']}"]
    pets("train", f"data.root={drawn}", *SMALL, *rates)
    twin = next(other for other in pets.runs() if other != run)
    assert same(weights(twin), weights(run))
    assert "lr_found" not in status(twin)


def test_a_sweep_takes_auto_beside_numbers(pets: Pets, drawn: Path) -> None:
    short = ["plan=frozen4", "plan.stages.head.epochs=2", *FEW]
    pets("train", "-m", f"data.root={drawn}", *SMALL[:-2], *short, "plan.stages.head.lr=auto,2e-3")
    auto, given = pets.runs()
    assert status(auto)["lr_found"]["head"]["method"] == "valley"
    for run, peak in ((auto, status(auto)["lr_found"]["head"]["lr"]), (given, 2e-3)):
        assert recorded(run, "head") == pytest.approx(cycle(6, peak), rel=1e-5)


def test_a_loss_that_never_falls_waits_for_a_given_rate(pets: Pets, drawn: Path) -> None:
    words = [f"data.root={drawn}", *SMALL, "lr_finder.start_lr=1e-9", "lr_finder.end_lr=1e-8"]
    line = pets.one_line("train", *words, "plan.stages.body.lr=[auto/100,auto]")
    (run,) = pets.runs()
    assert line.startswith("lr finder, body: no suggestion; valley: the loss never falls between ")
    assert "slide: the loss does not rise to twice its lowest before " in line
    shown = run.relative_to(pets.folder)
    assert line.endswith(f"pets train resume={shown} plan.stages.body.lr=<a number>")
    assert f"See {shown}/lr_finder/body.png" in line
    assert (run / "lr_finder/body.png").exists()
    assert status(run)["state"] == "failed"
    refused = pets.one_line("train", f"resume={run}", "plan.stages.head.lr=1e-4")
    assert refused.startswith("plan.stages.head.lr=1e-4: a resumed run keeps its own config")
    wider = pets.one_line("train", f"resume={run}", "lr_finder.end_lr=1e-7")
    assert wider.startswith("lr finder, body: no suggestion; ")
    assert yaml.safe_load((run / "config.yaml").read_text())["lr_finder"]["end_lr"] == 1e-7
    pets("train", f"resume={run}", "plan.stages.body.lr=[1e-6,1e-4]")
    assert status(run)["state"] == "finished"
    assert recorded(run, "head")[6:] == pytest.approx(cycle(9, 1e-4), rel=1e-5)
    assert yaml.safe_load((run / "config.yaml").read_text())["plan"]["stages"]["body"]["lr"] == [
        1e-6,
        1e-4,
    ]


def test_the_callback_lets_a_stage_begin_that_it_cannot_search(pets: Pets, drawn: Path) -> None:
    short = ["plan=frozen4", "plan.stages.head.epochs=4", "callbacks=lr_finder"]
    small = [word for word in SMALL[:-2] if "batch_size" not in word]
    said = pets("train", f"data.root={drawn}", *small, *short, "data.batch_size=61").stdout
    assert "60 training photos do not fill a batch of 61" in said
    (run,) = pets.runs()
    assert status(run)["state"] == "finished"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_finder_with_its_code(
    pets: Pets, drawn: Path, number: signal.Signals, code: int
) -> None:
    words = ["find-lr", f"data.root={drawn}", *SMALL[:4], "lr_finder.steps=5000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pets", *words], cwd=pets.folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "lr finder" not in process.stdout.readline():
        pass
    time.sleep(5)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.strip().splitlines()[-1] == "stopped"
    assert "Traceback" not in said


def test_find_lr_for_a_fresh_head(pets: Pets, drawn: Path) -> None:
    said = pets("find-lr", f"data.root={drawn}", *SMALL[:4], *FEW).stdout
    (folder,) = (pets.folder / "outputs").iterdir()
    assert "_find-lr_demo_efficientnet_lite0_" in folder.name
    (file,) = folder.glob("lr_finder/*.json")
    found = json.loads(file.read_text())
    assert found["freeze_to"] == -1
    assert file.stem == "fresh_head"
    rate = found["suggestions"]["valley"]
    assert f"valley suggests plan.stages.head.lr={rate:.3g}" in said
    assert f"picture {folder.relative_to(pets.folder)}/lr_finder/fresh_head.png" in said
    assert file.with_suffix(".png").exists()
    assert pictures(folder) == {f"lr_finder/{file.stem}"}
    for method, rate in found["suggestions"].items():
        shown = f"{rate:.2e}" if rate else f"none: {found['no_suggestion'][method]}"
        assert f"  {method:<8} {shown}" in said


def test_find_lr_refuses_less_than_a_batch(pets: Pets, drawn: Path) -> None:
    line = pets.one_line("find-lr", f"data.root={drawn}", *SMALL[:4], "data.batch_size=99")
    assert line.startswith("lr finder: 60 training photos do not fill a batch of 99, ")
    assert line.endswith("expected data.batch_size=60 or less, or a given lr")


def test_find_lr_from_a_trained_run(trained: Path, pets: Pets) -> None:
    run = pets.folder / "run"
    shutil.copytree(trained, run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    said = pets("find-lr", f"run={run}", *FEW).stdout
    found = json.loads((run / "lr_finder/after_body_all.json").read_text())
    assert found["freeze_to"] == 0
    assert found["factors"]["group0"] == pytest.approx(0.01)
    # It begins where the run ended, not at guessing.
    assert found["points"][0]["loss"] < 1.7 < np.log(10)
    assert "suggests plan.stages.body.lr=[" in said
    assert {p: p.read_bytes() for p in before} == before
    pets("find-lr", "-m", f"run={run}", *FEW, "seed=0,1", "freeze_to=-1", "lr=auto/2")
    sweep = [json.loads(p.read_text()) for p in (pets.folder / "outputs").rglob("after_*.json")]
    assert len(sweep) == 2
    assert sweep[0]["points"] != sweep[1]["points"]
    line = pets.one_line("find-lr", f"run={run}", "model=resnet18")
    assert line.startswith("model=resnet18: with run= the run's own is used; only ckpt, freeze_to,")
    assert "9 layer groups" in pets.one_line("find-lr", f"run={run}", "freeze_to=9")
    assert "is no run directory" in pets.one_line("find-lr", "run=nowhere")
    assert not (pets.folder / "nowhere").exists()
