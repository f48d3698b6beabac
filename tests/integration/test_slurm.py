"""Sweeps in a real Slurm, two ranks a job.

One sweep is disturbed on purpose: a job is warned of its limit, another one is cancelled. Then it
is resumed, left alone, taken up again and preempted.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, status, weights

# A batch is that of a rank.
TWO_RANKS = ("trainer=slurm_ddp", "trainer.accelerator=cpu", "trainer.devices=2")
TWO_RANKS += ("trainer.precision=32-true", "data.batch_size=8")
SLURM = (
    "hydra/launcher=slurm", "hydra.launcher.partition=low", "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.time=30",
)  # fmt: skip
# The gallery's size is of no consequence for a training: two pairs of runs with the same numbers.
SWEPT = ("seed=0,1", "interpret.gallery=3,4")


@dataclass(frozen=True)
class Sweep:
    """What is left of the sweep: the screen and exit code of its process, and its folder."""

    said: str
    code: int
    folder: Path

    def run(self, number: int) -> Path:
        (result,) = self.folder.glob(f"{number}_*")
        return result


@pytest.fixture(scope="module")
def sweep(
    tmp_path_factory: pytest.TempPathFactory, drawn: Path, slurm: dict[str, str]
) -> Iterator[Sweep]:
    """Four jobs, two at once. The first is undisturbed, the second gets the warning of its limit
    in the second stage, the third is cancelled there, the fourth is undisturbed."""
    here = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
        process = in_background(
            here, "train", "-m", f"data.root={drawn}", *SMALL, *TWO_RANKS, *SLURM, *SWEPT
        )
        (folder,) = until(process, lambda: list((here / "outputs/sweeps").glob("*/slurm")))
        result = Sweep("", 0, folder.parent)
        until(process, lambda: trained(result.run(1), "body", 1))
        warn(job(result.run(1)))
        until(process, lambda: trained(result.run(2), "body", 1))
        subprocess.run(["scancel", job(result.run(2))], check=True)
        said, _ = process.communicate(timeout=600)
        yield Sweep(said, process.returncode, folder.parent)


def test_a_job_in_slurm_trains_what_it_trains_elsewhere(sweep: Sweep, drawn: Path) -> None:
    alone = sweep.folder.parents[2] / "alone"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "-m", "pets", "train", f"data.root={drawn}", *SMALL, *TWO_RANKS,
        "seed=0", f"hydra.run.dir={alone}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    run = sweep.run(0)
    assert status(run)["results"] == status(alone)["results"]
    assert metrics(run) == metrics(alone)
    assert status(run)["results"]["test"]["photos"] == 20


def test_a_job_has_one_directory_that_one_rank_writes(sweep: Sweep) -> None:
    names = ["0_seed0_gallery3", "1_seed0_gallery4", "2_seed1_gallery3", "3_seed1_gallery4"]
    assert sorted(p.name for p in sweep.folder.iterdir() if p.name[0].isdigit()) == names
    # events.out.tfevents.<time>.<host>.<process>.<count>
    events = (sweep.run(0) / "tensorboard").glob("events*")
    assert len({file.name.split(".")[-2] for file in events}) == 1
    assert (sweep.run(0) / "train.log").read_text().count("stage head") == 1


def test_a_job_that_was_warned_goes_on_to_the_same_end(sweep: Sweep) -> None:
    warned, undisturbed = sweep.run(1), sweep.run(0)
    log = (warned / "train.log").read_text()
    assert "stopped by SIGUSR2 (stage body" in log
    assert "is requeued" in log
    assert "resuming after" in log
    assert metrics(warned) == metrics(undisturbed)
    assert same(weights(warned), weights(undisturbed))
    assert status(warned)["results"] == status(undisturbed)["results"]
    assert "1_seed0_gallery4: stopped (stage body" in sweep.said


def test_a_cancelled_job_loses_only_itself(sweep: Sweep) -> None:
    assert [status(sweep.run(i))["state"] for i in (0, 1, 3)] == ["finished"] * 3
    assert sweep.code == 1
    lost, number = status(sweep.run(2)), job(sweep.run(2))
    assert lost["state"] == "failed"
    logs = f"{sweep.folder.relative_to(sweep.folder.parents[2])}/slurm/{number}_*_log.out"
    assert lost["error"] == f"Slurm job {number}: CANCELLED; see {logs}"
    first, _ = sorted(sweep.folder.parents[2].glob(logs))
    assert "stage body" in first.read_text()
    assert "3 of 4 runs finished" in sweep.said
    assert f"2_seed1_gallery3: failed: {lost['error']}\n" in sweep.said


def test_a_resumed_sweep_takes_up_what_is_in_slurm(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, slurm: dict[str, str]
) -> None:
    """Only the lost job runs again, whoever waits for it; and preemption does not end it."""
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    here, lost, cancelled = sweep.folder.parents[2], sweep.run(2), job(sweep.run(2))
    command = ("train", "-m", f"sweep.resume={sweep.folder}", *SLURM)

    first = in_background(here, *command)
    until(first, lambda: job(lost) != cancelled and status(lost)["state"] == "running")
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=30)
    assert first.returncode == 130
    assert "1 of 1 runs to train" in said
    assert f"scancel {job(lost)}" in said

    submitted = job(lost)
    second = in_background(here, *command)
    until(second, lambda: trained(lost, "body", 1))
    preempting = ["sbatch", "--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=true"]
    subprocess.run(preempting, check=True, capture_output=True)
    said, _ = second.communicate(timeout=600)
    assert second.returncode == 0, said
    assert "1 already in Slurm" in said
    assert "4 of 4 runs finished" in said
    assert job(lost) == submitted
    log = (lost / "train.log").read_text()
    assert log.count("stopped by SIGTERM") == 2
    assert log.count("is requeued") == 1
    assert metrics(lost) == metrics(sweep.run(3))
    assert same(weights(lost), weights(sweep.run(3)))


def test_what_slurm_refuses_is_said_in_its_words(
    pets: Pets, drawn: Path, slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    line = pets(
        "train", "-m", f"data.root={drawn}", *SMALL, *TWO_RANKS, *SLURM, "seed=0",
        "hydra.launcher.partition=nowhere", code=1,
    ).stderr.strip()  # fmt: skip
    assert line == (
        "hydra/launcher=slurm: sbatch: error: Batch job submission failed: Invalid partition name "
        "specified"
    )


def in_background(here: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pets", *args],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def warn(job: str) -> None:
    """Send what Slurm sends `signal_lead` seconds before a job's limit."""
    # To its step: for a part of an array Slurm answers "try again" while other parts wait, and
    # scancel sends it again and again.
    subprocess.run(["scancel", "--signal=USR2", f"{job}.0"], check=True)


def job(run: Path) -> str:
    return json.loads((run / "slurm.json").read_text())["job"]


def trained(run: Path, stage: str, epochs: int) -> bool:
    """Whether the run is at least that far in a stage."""
    result = status(run)
    in_stage = (result["state"], result.get("stage")) == ("running", stage)
    return in_stage and result["epoch"] >= epochs


def until(process: subprocess.Popen[str], result: Callable[[], Any]) -> Any:
    """What `found` gives as soon as it gives something; the process must not end before."""
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if value := result():
                return value
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[0])
