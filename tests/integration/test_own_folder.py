"""A user's own folder, as docs/own.md describes it: no file of pets is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from pets.system.installation import conf_dir
from pets.training.checkpoints import read_checkpoint
from tests.integration.conftest import Pets
from tests.integration.runs import metrics, scalars, status

TOP = Path(__file__).parents[2]


@pytest.fixture
def own(pets: Pets) -> Pets:
    shutil.copytree(TOP / "examples/own", pets.folder / "mine")
    return pets


def run(pets: Pets, *args: str, code: int = 0) -> str:
    """Run the command as the script `pets` does: without the current folder on Python's path."""
    env = os.environ | {"PYTHONPATH": str(Path(sys.modules["pets"].__path__[0]).parent)}
    result = subprocess.run(
        [sys.executable, "-P", "-m", "pets", *args],
        cwd=pets.folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == code, f"{args}\n{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def test_everything_of_ones_own_is_used(own: Pets) -> None:
    before = {file: file.read_bytes() for file in conf_dir().rglob("*.yaml")}
    output = run(own, "train", "experiment=own", "--config-dir", "mine", "plan=frozen4")
    assert "3 classes; 24 train, 6 valid, 6 test" in output
    (trained,) = own.runs()
    # The data set and the label rule.
    assert len(list((own.folder / "data/spots").glob("*.png"))) == 36
    photos = pd.read_csv(trained / "photos.csv")
    assert set(photos.label) == {"blue", "green", "red"}
    assert (photos.path.str.extract("-(.*).png")[0] == photos.label).all()
    # The optimizer: its state, and rates of the one-cycle.
    (optimizer,) = read_checkpoint(trained / "checkpoints/last.ckpt")["optimizer_states"]
    assert {key for state in optimizer["state"].values() for key in state} == {"average"}
    assert max(event.value for event in scalars(trained, "lr/head")) == pytest.approx(1e-3)
    # The logger, which has what the callback logs and what pets logs.
    lines = [json.loads(line) for line in (trained / "lines.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "head/norm" in line] == [3, 6]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses == pytest.approx([event.value for event in scalars(trained, "train/loss")])
    # The metric, which says what is best.
    valid = status(trained)["results"]["valid"]
    assert valid["WorstClass"] == pytest.approx(min(valid["per_class"].values()))
    assert status(trained)["monitor"]["name"] == "WorstClass"
    assert float(metrics(trained)[-1]["WorstClass"]) == pytest.approx(valid["WorstClass"])
    # The loss: the head begins at zero, but the second step has logits to soften.
    assert yaml.safe_load((trained / "config.yaml").read_text())["loss"] == {
        "_target_": "own.SoftenedLoss", "temperature": 2.0,
    }  # fmt: skip
    run(own, "train", "experiment=own", "--config-dir=mine", "loss=cross_entropy")
    assert metrics(own.runs()[1])[0]["train_loss"] != metrics(trained)[0]["train_loss"]
    assert {file: file.read_bytes() for file in conf_dir().rglob("*.yaml")} == before

    # Later commands, and the resuming of a run, find it again; only if told so.
    name = f"run={trained}"
    line = run(own, "eval", name, "--config-dir", "mine", code=1).strip()
    assert re.search(r"label_from=own\.label: is not called for a run from elsewhere", line)
    assert "\n" not in line
    status_file = trained / "status.json"
    status_file.write_text(json.dumps({**status(trained), "state": "interrupted"}))
    line = run(own, "train", f"resume={trained}", "trust=true", code=1).splitlines()[-1]
    assert line.startswith("data.label_from=own.label: cannot be imported (No module named 'own')")
    assert "a module of yours is found in the folder of --config-dir" in line
    run(own, "train", f"resume={trained}", "trust=true", "-cd", "mine")
    assert status(trained)["state"] == "finished"
    assert "66" in run(own, "eval", name, "trust=true", "--config-dir", "mine", "split=val")


def test_the_processes_of_a_sweep_find_it(own: Pets) -> None:
    """Two jobs, one of them with two ranks, from another folder than the one they are in."""
    args = ["experiment=own", "trainer.accelerator=cpu", "--config-dir", "mine", "seed=0"]
    output = run(own, "train", "-m", *args, "trainer.devices=2", "data.batch_size=4")
    assert "1 of 1 run finished" in output
    (job,) = own.runs()
    assert json.loads((job / "lines.jsonl").read_text().splitlines()[0])["step"] == 0
    (own.folder / "elsewhere").mkdir()
    elsewhere = Pets(own.folder / "elsewhere")
    sweep = os.path.relpath(job.parent, elsewhere.folder)
    words = [f"sweep.resume={sweep}", "seed=1", "trust=true", "data.root=../data/spots"]
    run(elsewhere, "train", "-m", *words, "--config-dir", "../mine")
    assert [status(run)["state"] for run in own.runs()] == ["finished", "finished"]


def test_a_missing_folder_and_bad_rules_are_one_line(own: Pets, drawn: Path) -> None:
    line = own.one_line("train", "-m", "seed=0,1", "--config-dir", "gone", "loss=softened")
    assert line == "--config-dir gone: no such folder"
    data = ["--config-dir", "mine", "data=spots", f"data.root={drawn}"]
    line = own.one_line("look", *data)
    assert line.startswith("own.label returns None for 100 of 100 photos: ")
    line = own.one_line("look", *data, "data.label_from=own.COLOURS")
    assert (
        line
        == "data.label_from=own.COLOURS: is not a function; expected one that takes a photo's path"
    )
    line = own.one_line("look", *data, "data.label_from=json.loads")
    assert line.startswith("data.label_from=json.loads: fails for images/")
    line = own.one_line("look", *data, "data.label_from=os.path.getsize")
    assert line.startswith("data.label_from=os.path.getsize: fails for images/")
    line = own.one_line("look", *data, "data.label_from=os.path.splitext")
    assert "it returns ('images/" in line


def test_a_network_of_ones_own_trains(own: Pets) -> None:
    for name, shade in (("dark", 0), ("light", 128)):
        (own.folder / "shades" / name).mkdir(parents=True)
        for i in range(15):
            picture = Image.new("RGB", (64, 64), (shade + 8 * i, shade + 4 * i, shade))
            picture.save(own.folder / "shades" / name / f"{i}-{name}.png")
    words = ["data=folder", "data.root=shades", "data.batch_size=8", "plan=unfrozen"]
    words += ["plan.stages.body.lr=1e-2", "plan.stages.body.epochs=8"]
    output = run(own, "train", "--config-dir", "mine", "model=small_net", *words)
    assert "model.module=own_network is not part of pets: commands that use this run will" in output
    (trained,) = own.runs()
    weights = read_checkpoint(trained / "checkpoints/last.ckpt", trusted=True)["state_dict"]
    assert weights["model.backbone.network.stem.0.weight"].shape == (16, 3, 3, 3)
    assert [event.value for event in scalars(trained, "lr/group0")]
    assert status(trained)["results"]["valid"]["accuracy"] == 1
    line = run(own, "eval", f"run={trained}", "--config-dir", "mine", code=1).strip()
    assert "model.module=own_network: is not imported for a run from elsewhere" in line
    assert "\n" not in line
    run(own, "predict", f"run={trained}", "--config-dir", "mine", "trust=true", "source=shades",
        "out=names.csv")  # fmt: skip
    table = pd.read_csv(own.folder / "names.csv")
    assert len(table) == 30
    assert (table.prediction == table.file.str.extract("-(.*).png")[0]).mean() > 0.9
