"""The lr finder as a command, before every stage, and `lr: auto`: its rates reach the optimizer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.fast.training.test_rates import one_cycle
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, scalars, status, weights


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


def test_curves_of_every_stage_are_shown_and_change_nothing(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    output = pets("train", f"data.root={drawn}", *SMALL, *FEW, "lr_curves=true").stdout
    (run,) = pets.runs()
    assert metrics(run) == metrics(trained)
    assert same(weights(run), weights(trained))
    for stage in ("head", "body"):
        result = json.loads((run / f"lr_finder/{stage}.json").read_text())
        assert result["steps"] == len(result["points"]) <= 40
        with Image.open(run / f"lr_finder/{stage}.png") as picture:
            assert picture.width >= 900
        assert f"picture {run.relative_to(pets.folder)}/lr_finder/{stage}.png" in output
    assert pictures(run) == {"lr_finder/head", "lr_finder/body"}
    factors = json.loads((run / "lr_finder/body.json").read_text())["factors"]
    assert list(factors.values()) == pytest.approx([100 ** (place / 8 - 1) for place in range(9)])
    assert "lr_found" not in status(run)


def test_auto_reaches_the_optimizer(pets: Pets, drawn: Path) -> None:
    head, body = "plan.stages.head.lr", "plan.stages.body.lr"
    pets("train", f"data.root={drawn}", *SMALL, *FEW, f"{head}=auto/2", f"{body}=[auto/100,auto]")
    (run,) = pets.runs()
    result = status(run)["lr_found"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    for stage, asked in (("head", "auto/2"), ("body", ["auto/100", "auto"])):
        assert result[stage]["asked"] == asked
        assert result[stage]["lr"] == config["plan"]["stages"][stage]["lr"]
        curve = json.loads((run / f"lr_finder/{stage}.json").read_text())
        assert result[stage]["found"] == curve["suggestions"][result[stage]["method"]]
    assert result["head"]["method"] == "valley"
    assert result["head"]["lr"] == pytest.approx(result["head"]["found"] / 2, rel=5e-3)
    assert list(result["head"]["groups"]) == ["head"]
    assert result["body"]["lr"] == pytest.approx(
        [result["body"]["found"] / 100, result["body"]["found"]], rel=5e-3
    )
    # What was recorded while training: each group's cycle is the one that peaks at its rate.
    for group, rate in result["body"]["groups"].items():
        assert recorded(run, group)[-9:] == pytest.approx(cycle(9, rate), rel=1e-5)
        assert len(recorded(run, group)) == (15 if group == "head" else 9)
    assert recorded(run, "head")[:6] == pytest.approx(cycle(6, result["head"]["lr"]), rel=1e-5)

    # The same rates given as numbers are the same training.
    given = {stage: str(result[stage]["lr"]).replace(" ", "") for stage in result}
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
    args = [f"data.root={drawn}", *SMALL, "lr_finder.start_lr=1e-9", "lr_finder.end_lr=1e-8"]
    line = pets.one_line("train", *args, "plan.stages.body.lr=[auto/100,auto]")
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


def test_a_stage_begins_though_its_curve_cannot_be_recorded(pets: Pets, drawn: Path) -> None:
    short = ["plan=frozen4", "plan.stages.head.epochs=4", "lr_curves=true"]
    small = [word for word in SMALL[:-2] if "batch_size" not in word]
    output = pets("train", f"data.root={drawn}", *small, *short, "data.batch_size=61").stdout
    assert "60 training photos do not fill a batch of 61" in output
    (run,) = pets.runs()
    assert status(run)["state"] == "finished"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_finder_with_its_code(
    pets: Pets, drawn: Path, number: signal.Signals, code: int
) -> None:
    args = ["find-lr", f"data.root={drawn}", *SMALL[:4], "lr_finder.steps=5000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pets", *args], cwd=pets.folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "lr finder" not in process.stdout.readline():
        pass
    time.sleep(2)
    process.send_signal(number)
    _, output = process.communicate(timeout=60)
    assert process.returncode == code
    assert output.strip().splitlines()[-1] == "stopped"
    assert "Traceback" not in output


def test_find_lr_for_a_fresh_head(pets: Pets, drawn: Path) -> None:
    output = pets("find-lr", f"data.root={drawn}", *SMALL[:4], *FEW).stdout
    (folder,) = (pets.folder / "outputs").iterdir()
    assert "_find-lr_demo_efficientnet_lite0_" in folder.name
    (file,) = folder.glob("lr_finder/*.json")
    result = json.loads(file.read_text())
    assert result["freeze_to"] == -1
    assert file.stem == "fresh_head"
    rate = result["suggestions"]["valley"]
    assert f"valley suggests plan.stages.head.lr={rate:.3g}" in output
    assert f"picture {folder.relative_to(pets.folder)}/lr_finder/fresh_head.png" in output
    assert file.with_suffix(".png").exists()
    assert pictures(folder) == {f"lr_finder/{file.stem}"}
    for method, rate in result["suggestions"].items():
        shown = f"{rate:.2e}" if rate else f"none: {result['no_suggestion'][method]}"
        assert f"  {method:<8} {shown}" in output


def test_find_lr_refuses_less_than_a_batch(pets: Pets, drawn: Path) -> None:
    line = pets.one_line("find-lr", f"data.root={drawn}", *SMALL[:4], "data.batch_size=99")
    assert line.startswith("lr finder: 60 training photos do not fill a batch of 99, ")
    assert line.endswith("expected data.batch_size=60 or less, or a given lr")


def test_find_lr_from_a_trained_run(trained: Path, pets: Pets) -> None:
    run = pets.folder / "run"
    shutil.copytree(trained, run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    output = pets("find-lr", f"run={run}", *FEW).stdout
    result = json.loads((run / "lr_finder/after_body_all.json").read_text())
    assert result["freeze_to"] == 0
    assert result["factors"]["group0"] == pytest.approx(0.01)
    # It begins where the run ended, not at guessing.
    assert result["points"][0]["loss"] < 1.7 < np.log(10)
    assert "suggests plan.stages.body.lr=[" in output
    assert {p: p.read_bytes() for p in before} == before
    pets("find-lr", "-m", f"run={run}", *FEW, "seed=0,1", "freeze_to=-1", "lr=auto/2")
    sweep = [json.loads(p.read_text()) for p in (pets.folder / "outputs").rglob("after_*.json")]
    assert len(sweep) == 2
    assert sweep[0]["points"] != sweep[1]["points"]
    line = pets.one_line("find-lr", f"run={run}", "model=resnet18")
    kept = "model=resnet18: with run= the run's own is used; only trust, ckpt, freeze_to,"
    assert line.startswith(kept)
    assert "9 layer groups" in pets.one_line("find-lr", f"run={run}", "freeze_to=9")
    assert "is not a run directory (no such folder)" in pets.one_line("find-lr", "run=no/where")
    assert not (pets.folder / "no").exists()
    assert not (pets.folder / "nowhere").exists()
