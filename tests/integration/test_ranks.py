"""Training in several processes: the same as in one, one directory, and how it ends."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from pets.cache.store import Store
from pets.run_dir import RunDir
from tests.integration.conftest import SMALL, Pets
from tests.integration.ranks import on_two_ranks, start_two_ranks
from tests.integration.runs import metrics, metrics_or_none, same, scalars, status, weights

# Half of a batch for each of two: together they take the steps of SMALL.
HALVES = (
    *(word for word in SMALL if "batch_size" not in word),
    "data.batch_size=8", "trainer.devices=2", "trainer.accelerator=cpu",
)  # fmt: skip


def torchrun(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc-per-node", "2", "-m", "pets", *args],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> tuple[Path, str]:
    """The run directory of SMALL on two ranks that torchrun has made, and what was said."""
    pets = Pets(tmp_path_factory.mktemp("together"))
    result = torchrun(pets.folder, "train", f"data.root={drawn}", *HALVES)
    assert result.returncode == 0, result.stdout
    (run,) = pets.runs()
    return run, result.stdout


def test_two_ranks_train_as_one_does(trained: Path, together: tuple[Path, str]) -> None:
    run, _ = together
    mine, expected = pd.DataFrame(metrics(run)), pd.DataFrame(metrics(trained))
    assert mine[["stage", "epoch", "step"]].equals(expected[["stage", "epoch", "step"]])
    numbers = ["train_loss", "valid_loss", "error_rate", "accuracy", "mean_class_accuracy"]
    assert mine[numbers].astype(float).to_numpy() == pytest.approx(
        expected[numbers].astype(float).to_numpy(), abs=1e-5
    )
    for tag in ("train/loss", "lr/head"):
        assert [e.value for e in scalars(run, tag)] == pytest.approx(
            [e.value for e in scalars(trained, tag)], rel=1e-4, abs=1e-9
        )
    for split in ("valid", "test"):
        result, alone = (status(r)["results"][split] for r in (run, trained))
        assert result["photos"] == alone["photos"] == 20
        assert result["per_class"] == pytest.approx(alone["per_class"])
        assert result["loss"] == pytest.approx(alone["loss"], abs=1e-5)


def test_they_have_one_directory_and_one_writer(trained: Path, together: tuple[Path, str]) -> None:
    run, output = together

    def names(folder: Path) -> set[str]:
        files = (p for p in folder.rglob("*") if p.is_file())
        # Other tests measure the shared run.
        written = (p for p in files if "events" not in p.name and p.parent.name != "eval")
        return {p.relative_to(folder).as_posix() for p in written}

    assert names(run) == names(trained)
    events = [len(list((folder / "tensorboard").glob("events*"))) for folder in (run, trained)]
    assert events[0] == events[1]
    assert len((run / "train.log").read_text().splitlines()) == len(
        (trained / "train.log").read_text().splitlines()
    )
    assert output.count("stage head: 2 epochs") == 1
    assert "on cpu in 2 processes" in output
    assert "rank 1" not in output
    assert status(run)["ranks"] == 2
    assert json.loads((run / "environment.json").read_text())["ranks"] == 2
    assert (status(trained)["ranks"], status(run)["state"]) == (1, "finished")


def test_a_killed_rank_ends_the_other_and_the_run_goes_on(
    together: tuple[Path, str], pets: Pets, drawn: Path
) -> None:
    args = ["train", f"data.root={drawn}", *HALVES, "hydra.run.dir=run"]
    started, run = start_two_ranks(pets.folder, ["pets", *args]), pets.folder / "run"
    while len(metrics_or_none(run)) < 2:
        assert started.processes[0].is_alive(), started.said(0)
        time.sleep(0.05)
    started.send(1, signal.SIGKILL)
    assert started.end(timeout=60) == [1, -signal.SIGKILL]
    expected = "another rank has ended: killed, or its machine is gone"
    assert f"{expected}; resume with pets train resume=run" in started.said(0)
    assert "Traceback" not in started.said(0)
    assert (status(run)["state"], status(run)["error"]) == ("failed", expected)

    line = pets.one_line("train", "resume=run")
    assert line.startswith("trainer.devices=2: needs 2 processes, one per device; run torchrun ")
    assert line.endswith("--nproc-per-node 2 -m pets train resume=run")
    line = pets.one_line("train", "resume=run", "trainer.devices=1")
    assert line.startswith("trainer.devices=1: the run was started on 2 devices")
    # One of them is asked to stop while both train: all do, and nothing is lost.
    args = ["pets", "train", "resume=run", "data.num_workers=0"]
    before = len(metrics(run))
    started = start_two_ranks(pets.folder, args)
    while len(metrics_or_none(run)) <= before:
        assert started.processes[0].is_alive(), started.said(0)
        time.sleep(0.02)
    started.send(1, signal.SIGTERM)
    assert started.end(timeout=60) == [128 + signal.SIGTERM] * 2, started.said(0)
    assert status(run)["state"] == "interrupted"
    assert started.said(1) == ""

    again = start_two_ranks(pets.folder, args)
    assert again.end() == [0, 0], again.said(0)
    assert again.said(1) == ""
    assert metrics(run) == metrics(together[0])
    assert same(weights(run), weights(together[0]))
    assert status(run)["results"] == status(together[0])["results"]


NOTES = """
from pathlib import Path
from pytorch_lightning import Callback

class Notes(Callback):
    def on_train_end(self, trainer, module):
        Path(f"epochs_of_{trainer.global_rank}").write_text(str(trainer.current_epoch))
"""


def test_all_ranks_are_stopped_early_in_the_same_epoch(pets: Pets, drawn: Path) -> None:
    (pets.folder / "notes.py").write_text(NOTES)
    args = [
        "train", f"data.root={drawn}", *HALVES, "hydra.run.dir=run", "plan=frozen4",
        "plan.stages.head.epochs=6", "callbacks=early_stopping", "monitor=valid/accuracy",
        "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=1",
        "+callbacks.notes._target_=notes.Notes", "--config-dir", str(pets.folder),
    ]  # fmt: skip
    started = start_two_ranks(pets.folder, ["pets", *[a for a in args if ".body." not in a]])
    assert started.end() == [0, 0], [started.said(0), started.said(1)]
    assert [(pets.folder / f"epochs_of_{rank}").read_text() for rank in range(2)] == ["2", "2"]
    assert [row["epoch"] for row in metrics(pets.folder / "run")] == ["1", "2"]
    assert "stopped early, after 2 of 6 epochs" in started.said(0)
    assert status(pets.folder / "run")["state"] == "finished"


def test_where_rank_0_is_killed_the_run_reads_as_interrupted(pets: Pets, drawn: Path) -> None:
    args = ["train", f"data.root={drawn}", *HALVES, "hydra.run.dir=run"]
    started, run = start_two_ranks(pets.folder, ["pets", *args]), pets.folder / "run"
    while not (run / "photos.csv").exists():
        assert started.processes[0].is_alive(), started.said(0)
        time.sleep(0.05)
    started.send(0, signal.SIGKILL)
    assert started.end(timeout=60) == [-signal.SIGKILL, 1]
    assert started.said(1) == ""
    assert status(run)["state"] == "running"
    assert RunDir.open(run).state == "interrupted"


def test_cache_finder_and_report_are_those_of_one(pets: Pets, drawn: Path) -> None:
    args = [
        "train", f"data.root={drawn}", "plan=frozen4", "plan.stages.head.epochs=2",
        "precompute=true", "plan.stages.head.lr=auto", "lr_finder.steps=40",
        "lr_finder.start_lr=1e-5",
    ]  # fmt: skip
    pets(*args, *SMALL[:5], "cache_dir=alone", "hydra.run.dir=one")
    small = [word for word in HALVES if "plan" not in word]
    args = [*args, *small, "cache_dir=shared", "hydra.run.dir=two", "report=true"]
    started = start_two_ranks(pets.folder, ["pets", *args])
    assert started.end() == [0, 0], [started.said(0), started.said(1)]
    one, two = pets.folder / "one", pets.folder / "two"
    assert len(Store(pets.folder / "shared").entries()) == 1
    assert started.said(0).count("activations of 100 photos") == 1
    assert "40 steps of 16 photos" in started.said(0)
    assert status(two)["lr_found"]["head"]["lr"] == status(one)["lr_found"]["head"]["lr"]
    for name in ("train_loss", "valid_loss"):
        assert [float(row[name]) for row in metrics(two)] == pytest.approx(
            [float(row[name]) for row in metrics(one)], abs=1e-5
        )
    table = pd.read_parquet(two / "interpret/test/predictions.parquet")
    table = table[table.split == "test"]
    assert len(table) == table.path.nunique() == 20
    assert table.loss.mean() == pytest.approx(status(one)["results"]["test"]["loss"], abs=1e-4)
    assert (two / "report.html").exists()
    assert started.said(1) == ""


def test_moving_norms_end_as_the_same_on_all_ranks(drawn: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"{rank}.pt" for rank in range(2)]
    constant = ["plan.stages.head.schedule=constant"]
    args = [f"data.root={drawn}", *HALVES, "model/head=concat_pool", *constant]
    on_two_ranks("tests.integration.network_on_two_ranks", outs, args)
    first, second = (torch.load(out) for out in outs)
    assert same(first["network"], second["network"])
    moved = first["network"]["model.head.layers.0.running_mean"]
    assert moved.abs().max() > 0.01
    # Dropout and mixed batches draw other numbers on every rank.
    assert not torch.equal(first["draw"], second["draw"])


def test_what_ranks_exchange(tmp_path: Path) -> None:
    outs = [tmp_path / f"{rank}.json" for rank in range(2)]
    module = "tests.integration.exchange_on_two_ranks"
    started = start_two_ranks(tmp_path, *([module, str(out)] for out in outs))
    assert started.end(timeout=60) == [0, 1], [started.said(0), started.said(1)]
    first, second = (json.loads(out.read_text()) for out in outs)
    assert first["told"] == second["told"] == "by 0"
    assert first["made"] < second["made"]
    assert first["same"] == "yes"
    values = [{"rank": 0, "values": ["", None]}, {"rank": 1, "values": ["1" * 1000, None]}]
    assert first["all"] == second["all"] == values
    assert second["same"].startswith("the number of a rank: 1 on ")
    assert first["raised"] == "rank 1: a.jpg: cannot be read"
    assert (started.said(0), started.said(1)) == ("", "")


def test_a_mistake_is_said_once(pets: Pets, drawn: Path) -> None:
    result = torchrun(pets.folder, "train", f"data.root={drawn}", *HALVES, "seed=abc")
    assert result.returncode == 1
    assert result.stdout.count("seed=abc: expected a whole number") == 1
    line = pets.one_line("train", f"data.root={drawn}", *HALVES)
    assert line == (
        "trainer.devices=2: needs 2 processes, one per device; run torchrun --standalone "
        "--nproc-per-node 2 -m pets train trainer.devices=2 ..."
    )
    assert not any((pets.folder / "outputs").iterdir())
