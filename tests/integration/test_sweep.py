"""Many runs on one machine: none takes another along, none is lost, doubled or overwritten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from pets.sweep.jobs import prepare, runs_of
from pets.sweep.processes import Slot
from tests.conftest import need
from tests.integration.conftest import SMALL, Pets
from tests.integration.forked import CONTEXT
from tests.integration.runs import metrics, same, scalars, status, weights
from tests.processes import alive, kill, until

# Half a second a run: the head alone, on what the body gave.
SHORT = (
    *SMALL[:-2], "plan=frozen4", "plan.stages.head.epochs=2", "precompute=true",
    "model/head=linear", "cache_dir=cache", "callbacks=none",
)  # fmt: skip

# What happens to runs of some seeds after their first epoch, while the file `planted` lasts.
ACCIDENTS = """
import os, signal, time
from pathlib import Path
from pytorch_lightning import Callback

class Accident(Callback):
    def on_train_epoch_end(self, trainer, module):
        what = Path("planted").read_text() if Path("planted").exists() else ""
        seed = Path(trainer.loggers[0].save_dir).name.partition("seed")[2]
        if f"kill {seed}" in what and trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if f"raise {seed}" in what:
            raise ZeroDivisionError("planted in run " + seed)
        if f"wait {seed}" in what and trainer.current_epoch == 0:
            Path("waits" + seed).touch()
            time.sleep(5)
"""
ACCIDENT = "+callbacks.accident._target_=accidents.Accident"


@pytest.fixture
def folder(pets: Pets) -> Path:
    (pets.folder / "accidents.py").write_text(ACCIDENTS)
    return pets.folder


def states(pets: Pets) -> dict[str, str]:
    return {run.name: status(run)["state"] for run in pets.runs()}


def finished(pets: Pets) -> list[Path]:
    return [run for run in pets.runs() if status(run)["state"] == "finished"]


def test_a_failed_run_takes_no_other_along_and_is_run_again(
    pets: Pets, drawn: Path, folder: Path
) -> None:
    (folder / "planted").write_text("kill 1, raise 2")
    args = [f"data.root={drawn}", *SHORT, ACCIDENT]
    output = pets("train", "-m", *args, "seed=0,1,2,3", code=1).stdout
    assert states(pets) == {
        "0_seed0": "finished", "1_seed1": "failed", "2_seed2": "failed", "3_seed3": "finished",
    }  # fmt: skip
    whole, killed, raised, _ = pets.runs()
    sweep = whole.parent.relative_to(folder)
    assert f"{sweep}: 2 of 4 runs finished, 2 failed\n" in output
    assert (
        "\n1_seed1: failed, its process ended (was killed by SIGKILL); "
        f"see {sweep}/1_seed1/screen.log\n"
    ) in output
    assert "\n2_seed2: failed, ZeroDivisionError: planted in run 2\n" in output
    assert f"\nsummary  {sweep}/summary.html\n" in output
    assert output.splitlines()[-1] == f"to run the rest: pets train -m sweep.resume={sweep}"
    # The traceback is in the run's own status and log.
    for text in (status(raised)["error"], (raised / "train.log").read_text()):
        assert 'raise ZeroDivisionError("planted in run " + seed)' in text
    assert "planted" not in (whole / "train.log").read_text()

    # Only what failed runs again, to the end; what was finished is not touched.
    (folder / "planted").unlink()
    before = {run: status(run)["updated"] for run in (whole, pets.runs()[3])}
    line = pets.one_line("train", "-m", f"sweep.resume={sweep}")
    assert "callbacks.accident._target_=accidents.Accident: " in line
    assert line.endswith("trust=true")
    output = pets("train", "-m", f"sweep.resume={sweep}", "trust=true").stdout
    assert f"{sweep}: 2 of 2 runs to train" in output
    assert set(states(pets).values()) == {"finished"}
    assert {run: status(run)["updated"] for run in before} == before
    assert [row["epoch"] for row in metrics(killed)] == ["1", "2"]

    # A wider sweep adds its runs, numbered on; the same words typed again add nothing. What is not
    # typed again is as it was.
    output = pets("train", "-m", "seed=1,2,4,4", f"sweep.resume={sweep}", "trust=true").stdout
    assert f"{sweep}: 1 of 3 runs to train\n" in output
    assert [run.name for run in pets.runs()] == [
        "0_seed0", "1_seed1", "2_seed2", "3_seed3", "4_seed4",
    ]  # fmt: skip
    given = [yaml.safe_load((run / "overrides.yaml").read_text()) for run in pets.runs()]
    assert {*given[4]} - {"seed=4"} == {*given[0]} - {"seed=0"}
    pets(
        "train", "-m", *args, "seed=4", f"sweep.resume={sweep}", "trust=true", "data.num_workers=1"
    )
    assert len(pets.runs()) == 5
    pets("train", "-m", "seed=5", f"sweep.resume={sweep}", "trust=true")
    assert pets.runs()[5].name == "5_seed5"

    # Each is the run that it would have been alone on the same number of threads.
    pets("train", *args, "seed=2", env={"OMP_NUM_THREADS": "1"})
    alone = pets.runs()[0]
    assert alone.parent == folder / "outputs"
    assert same(weights(alone), weights(raised))
    assert metrics(alone) == metrics(raised)
    steps = [event.step for event in scalars(raised, "train/loss")]
    assert steps == [event.step for event in scalars(alone, "train/loss")]


@pytest.mark.core
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_sweep_goes_on(
    pets: Pets, drawn: Path, folder: Path, how: signal.Signals
) -> None:
    (folder / "planted").write_text("wait 0, wait 1")
    launcher = subprocess.Popen(
        [sys.executable, "-m", "pets", "train", "-m", f"data.root={drawn}", *SHORT, ACCIDENT,
         "seed=0,1,2"],
        cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until(lambda: (folder / "waits0").exists() and (folder / "waits1").exists())
    if how == signal.SIGINT:
        os.killpg(launcher.pid, how)  # as the terminal does at Ctrl-C
    else:
        launcher.send_signal(how)
    output, _ = launcher.communicate(timeout=60)
    until(lambda: not alive(launcher.pid))
    assert states(pets) == {
        "0_seed0": "interrupted", "1_seed1": "interrupted", "2_seed2": "waiting",
    }  # fmt: skip
    sweep = pets.runs()[0].parent.relative_to(folder)
    if how != signal.SIGKILL:
        assert launcher.returncode == 128 + how
        assert f"resume with pets train -m sweep.resume={sweep}" in output
    (folder / "planted").unlink()
    pets("train", "-m", f"sweep.resume={sweep}", "trust=true")
    assert set(states(pets).values()) == {"finished"}


def test_a_sweep_that_is_killed_early_leaves_no_process(
    pets: Pets, drawn: Path, folder: Path
) -> None:
    """While a process that its fork server has forked checks signatures."""
    launcher = subprocess.Popen(
        [sys.executable, "-m", "pets", "train", "-m", f"data.root={drawn}", *SHORT, "seed=0,1"],
        cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until(lambda: len(alive(launcher.pid)) >= 4)
    kill(launcher)
    assert "running" not in states(pets).values()


def test_a_job_of_two_ranks(pets: Pets, drawn: Path, folder: Path) -> None:
    """Half a batch on each of two ranks is the run that one process would have been."""
    (folder / "planted").write_text("kill 1")
    args = [f"data.root={drawn}", *SHORT, ACCIDENT, "trainer.accelerator=cpu"]
    halves = ["trainer.devices=2", "data.batch_size=8"]
    output = pets("train", "-m", *args, *halves, "seed=0,1", code=1).stdout
    two, killed = pets.runs()
    assert states(pets) == {"0_seed0": "finished", "1_seed1": "failed"}
    assert "1_seed1: failed, " in output
    assert status(killed)["error"]
    (folder / "planted").unlink()
    pets("train", *args, "seed=0")
    alone = pets.runs()[0]
    for ours, theirs in zip(metrics(two), metrics(alone), strict=True):
        for name in ("train_loss", "valid_loss", "error_rate"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-5)
    line = pets.one_line("train", "-m", *args, "trainer.devices=[0]", "seed=0,1")
    assert line.startswith("trainer.devices=[0]: the sweep assigns devices to jobs; give a number")
    line = pets.one_line("train", "-m", *args, "trainer.num_nodes=2", "seed=0,1")
    assert line.startswith("trainer.num_nodes=2: these jobs run on this machine; use hydra/lau")


def test_optuna_searches_and_goes_on(pets: Pets, drawn: Path, folder: Path) -> None:
    need(find_spec("optuna") is not None, "optuna is not installed")
    (folder / "planted").write_text("raise 3")
    args = [
        "train", "-m", "hydra/sweeper=optuna", f"data.root={drawn}", *SHORT, ACCIDENT,
        "plan.stages.head.lr=tag(log,interval(1e-4,1e-1))", "seed=choice(3,4)",
    ]  # fmt: skip
    pets(*args, "hydra.sweeper.n_trials=4", code=1)
    sweep = pets.runs()[0].parent.relative_to(folder)
    first = {run.name: status(run) for run in pets.runs()}
    assert {name[-5:]: status["state"] for name, status in first.items()} == {
        "seed3": "failed", "seed4": "finished",
    }  # fmt: skip
    assert len(first) == 4
    rates = [yaml.safe_load((run / "config.yaml").read_text()) for run in pets.runs()]
    rates = [config["plan"]["stages"]["head"]["lr"] for config in rates]
    assert len(set(rates)) == 4
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)

    # A failed trial teaches nothing; two more are chosen, and none is repeated.
    (folder / "planted").unlink()
    line = pets.one_line(
        "train",
        "-m",
        f"sweep.resume={sweep}",
        "trust=true",
        "optimizer.weight_decay=interval(0,0.1)",
    )
    assert line.startswith(
        f"sweep.resume={sweep}: was searched over plan.stages.head.lr, seed, not"
    )
    output = pets(
        "train", "-m", "hydra.sweeper.n_trials=6", f"sweep.resume={sweep}", "trust=true", code=1
    ).stdout
    assert len(pets.runs()) == 6
    errors = [status(run)["results"]["valid"]["error_rate"] for run in finished(pets)]
    assert f": {100 * min(errors):.1f} % validation error.\n" in output
    line = pets.one_line(*args, "plan.stages.head.lr=1e-3", "seed=1")
    assert line.startswith("hydra/sweeper=optuna: nothing to search; give a key as ")
    line = pets.one_line(*args, "hydra.sweeper.n_trials=0")
    assert line == "hydra.sweeper.n_trials=0: expected a whole number of at least 1"


SLOW = """
import time
from pytorch_lightning import Callback

class Slow(Callback):
    def on_train_epoch_start(self, *_):
        time.sleep(1)
"""


def test_optunas_hopeless_trials_are_stopped_with_a_checkpoint(
    pets: Pets, drawn: Path, folder: Path
) -> None:
    """Of two trials that learn and two that cannot, whichever comes first."""
    need(find_spec("optuna") is not None, "optuna is not installed")
    (folder / "slow.py").write_text(SLOW)
    args = [
        "train", "-m", "hydra/sweeper=optuna", f"data.root={drawn}", *SHORT, "report=false",
        "plan.stages.head.epochs=5", "plan.stages.head.lr=1e-9,1e-8,1e-2,2e-2",
        "+callbacks.slow._target_=slow.Slow", "hydra/sweeper/pruner=median",
        "hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.n_jobs=1",
    ]  # fmt: skip
    output = pets(*args, "hydra.sweeper.n_trials=8").stdout
    assert "8 trials, all random: TPESampler would learn from the results of 10 on\n" in output
    lr = {run: float(run.name.partition("_lr")[2]) for run in pets.runs()}
    pruned = [run for run in pets.runs() if status(run)["state"] == "pruned"]
    assert pruned
    assert all(lr[run] < 1e-7 for run in pruned)
    assert {status(run)["state"] for run in lr if lr[run] > 1e-3} == {"finished"}
    sweep = pruned[0].parent.relative_to(folder)
    assert f"{sweep}: {len(lr) - len(pruned)} of {len(lr)} runs finished, {len(pruned)} prun" in (
        output
    )
    assert "no result yet" not in output
    for run in pruned:
        assert 2 <= len(metrics(run)) < 5
        assert (run / "checkpoints/last.ckpt").exists()
        assert f"{run.name}: pruned (stage head, " in output
    # It is not run again, unless by itself.
    updated = {run: status(run)["updated"] for run in pruned}
    output = pets("train", "-m", f"sweep.resume={sweep}", "trust=true").stdout
    assert "all 8 trials are done; for more: hydra.sweeper.n_trials=<total number>" in output
    assert updated == {run: status(run)["updated"] for run in pruned}
    pets("train", f"resume={pruned[0]}", "trust=true")
    assert status(pruned[0])["state"] == "finished"
    assert len(metrics(pruned[0])) == 5


@pytest.mark.core
def test_mistakes_are_said_before_anything_runs(pets: Pets, drawn: Path, tmp_path: Path) -> None:
    args = ("train", "-m", f"data.root={drawn}", *SHORT)
    line = pets.one_line(*args, "plan.stages.head.lr=1e-3,-1")
    assert line.startswith("plan.stages.head.lr=-1: expected a number above 0")
    line = pets.one_line(*args, "seed=0,1", "hydra.launcher.jobs=none")
    assert line == "hydra.launcher.jobs=none: expected a whole number of at least 1, or auto"
    line = pets.one_line(*args, "seed=0,1", "sweep.resume=nowhere")
    assert line == "sweep.resume=nowhere: holds no runs; expected a folder of outputs/sweeps"
    line = pets.one_line("train", "-m", f"sweep.resume={tmp_path}")
    assert "holds no runs; expected a folder of outputs/sweeps" in line
    line = pets.one_line(*args, "data.root=a,b")
    assert line.startswith("data.root=a,b: is a path or a device, which does not distinguish")
    line = pets.one_line(*args, "resume=x", "seed=0,1")
    assert line.startswith("resume=x: is for a single run; resume a sweep with sweep.resume=")
    line = pets.one_line(*args, "+trainer.nope=1,2")
    assert line.startswith("trainer")
    assert "nope" in line
    line = pets.one_line(*args, "hydra.run.dir=x", "seed=0,1")
    assert line == "hydra.run.dir=x: is not for sweeps; use hydra.sweep.dir=<folder>"
    line = pets.one_line(*args, "hydra.sweep.subdir=x", "seed=0,1")
    assert line == "hydra.sweep.subdir=x: is not for sweeps; use hydra.sweep.dir=<folder>"
    line = pets.one_line("train", "sweep.resume=outputs")
    assert line == "sweep.resume=outputs: is for sweeps; add -m"
    assert {path.name for path in (pets.folder / "outputs").rglob("*")} <= {"sweeps"}
    assert not (pets.folder / "nowhere").exists()


@pytest.mark.parametrize(
    ("sweeper", "wrong", "line"),
    [
        ("grid", "data.size=big", "data.size=big: expected pixels: "),
        ("optuna", "data.size=big", "data.size=big: expected pixels: "),
        ("optuna", "optimizer.weight_decay=-1", "optimizer: torch.optim.AdamW refuses its argum"),
    ],
)
def test_a_sweep_with_a_mistake_leaves_no_folder(
    pets: Pets, drawn: Path, sweeper: str, wrong: str, line: str
) -> None:
    args = ("-m", f"data.root={drawn}", f"hydra/sweeper={sweeper}", "seed=0,1", wrong)
    assert pets.one_line("train", *args).startswith(line)
    assert list((pets.folder / "outputs/sweeps").iterdir()) == []


def by_name(pets: Pets, sweep: str) -> dict[str, Path]:
    """The runs of a sweep by what distinguishes them, whatever their numbers."""
    runs = [run for run in pets.runs() if run.parent.name == sweep]
    return {run.name.partition("_")[2]: run for run in runs}


def test_runs_that_share_a_process_pass_nothing_on(pets: Pets, drawn: Path) -> None:
    """In another order, and with other runs that fail in between, all have the same bits."""
    args = ("train", "-m", f"data.root={drawn}", *SHORT, "hydra.launcher.jobs=2")
    pets(*args, "seed=0,1,2", "plan.stages.head.lr=1e-3,1e-2", "hydra.sweep.dir=outputs/one")
    rates = "plan.stages.head.lr=1e-2,1e38,1e-3"
    pets(*args, "seed=2,0,1", rates, "hydra.sweep.dir=outputs/other", code=1)
    one, other = by_name(pets, "one"), by_name(pets, "other")
    assert len(one) == 6
    assert len(other) == 9
    for name, run in other.items():
        if "1e+38" in name:
            assert status(run)["state"] == "failed"
            assert "training diverged" in status(run)["error"]
            continue
        assert same(weights(run), weights(one[name]))
        assert metrics(run) == metrics(one[name])
        assert status(run)["results"] == status(one[name])["results"]
        assert (run / "train.log").read_text().count("stage head") == 1


def test_the_process_of_a_slot_is_kept_until_a_run_fails(
    pets: Pets, drawn: Path, tmp_path: Path
) -> None:
    cache = f"cache_dir={tmp_path / 'cache'}"
    pets("train", "-m", f"data.root={drawn}", *SHORT, cache, "seed=0", "hydra.sweep.dir=outputs/a")
    (first,) = runs_of(pets.folder / "outputs/a", trusted=True)
    stages = first.train_config.plan.stages
    diverges = stages["head"].model_copy(update={"lr": 1e38})
    plan = first.train_config.plan.model_copy(update={"stages": {"head": diverges}})
    changes = [{"seed": 1}, {"seed": 2}, {"plan": plan}, {"seed": 3}, {"seed": 4}]
    configs = [first.train_config.model_copy(update=change) for change in changes]
    jobs = prepare(pets.folder / "outputs/a", [(c, []) for c in configs], [[]] * 5)
    slot, exits, processes = Slot(CONTEXT, 2, {}), [], []
    for job in jobs:
        if job is jobs[4]:
            slot.processes[0].kill()
        slot.train(job, {"version": 1})
        processes.append(slot.processes[0].pid)
        exits.append(slot.wait())
    slot.end()
    assert exits[:4] == [0, 0, 1, 0]
    assert processes[0] == processes[1] == processes[2] != processes[3]
    assert [job.run.status["state"] for job in jobs[:4]] == [
        "finished", "finished", "failed", "finished",
    ]  # fmt: skip
    # One that is killed while it waits is replaced, or takes only the run along that it was given.
    assert (exits[4], jobs[4].run.status["state"]) in ((0, "finished"), (-9, "waiting"))
    assert not any(job.run.held() for job in jobs)
