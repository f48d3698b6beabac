"""Short runs: through every step, on a handful of photos, with a profile; each says so."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest

from pets.run_dir import RunDir
from pets.training.checkpoints import read_checkpoint
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, status
from tests.integration.test_stopping import STEPS, Training, assert_same_end

NETWORK = SMALL[:5]


@pytest.mark.core
def test_fast_goes_through_every_step_and_says_that_it_is_limited(pets: Pets, drawn: Path) -> None:
    args = (*NETWORK, "data.batch_size=8", "debug=fast", "report=true")
    result = pets("train", f"data.root={drawn}", *args)
    (run,) = pets.runs()
    assert [(row["stage"], row["epoch"], row["step"]) for row in metrics(run)] == [
        ("head", "1", "4"),
        ("body", "1", "8"),
    ]
    limits = [
        f"trainer.limit_{name}" for name in ("train_batches=4", "val_batches=2", "test_batches=2")
    ]
    assert status(run)["limited"] == limits
    assert [status(run)["results"][split]["photos"] for split in ("valid", "test")] == [16, 16]
    assert f"limited by {' '.join(limits)}" in result.stdout
    page = (run / "report.html").read_text()
    assert "A limited run." in page
    assert limits[0] in page
    # What measures the run later takes all photos.
    pets("eval", f"run={run}", "split=test")
    assert '"photos": 20' in (run / "eval/test_last.json").read_text()
    assert pets.one_line("eval", f"run={run}", "trainer.limit_test_batches=2").startswith(
        "trainer.limit_test_batches=2: is for pets train; here all photos are used"
    )
    pets("find-lr", f"run={run}", "lr_finder.steps=30")


def test_a_limited_epoch_resumes_at_its_next_batch(tmp_path: Path, drawn: Path) -> None:
    args = ("trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "plan.epochs=2")
    whole = Training(tmp_path / "whole", drawn, *args)
    whole.finish()
    steps = [int(row["step"]) for row in metrics(whole.path)]
    assert steps == [3, 6, 9, 12]
    assert STEPS > 3
    # The schedule is as long as the limited epochs: it ends at its lowest rate.
    (scheduler,) = read_checkpoint(whole.run.checkpoint("last"))["lr_schedulers"]
    assert scheduler["last_epoch"] == 6
    stopped = Training(tmp_path / "stopped", drawn, *args)
    for hook, step, position in (
        ("batch_end", 2, ("head", 0, 2)),
        ("batch_end", 3, ("head", 1, 0)),
        ("batch_start", 6, ("body", 0, 1)),
    ):
        stopped.stop(hook, step, signal.SIGTERM)
        assert stopped.position == position
    stopped.finish()
    assert_same_end(stopped.path, whole.path)


def test_overfit_learns_a_batch_by_heart(pets: Pets, drawn: Path) -> None:
    """A check of the pipeline: it fails if labels, photos or the optimizer are mixed up."""
    pets("train", f"data.root={drawn}", *NETWORK, "debug=overfit", "plan=frozen4")
    (run,) = pets.runs()
    with (run / "photos.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    by_split = {
        split: [(row["path"], row["label"]) for row in rows if row["split"] == split]
        for split in ("train", "valid", "test")
    }
    assert by_split["train"] == by_split["valid"]
    assert (len(by_split["train"]), by_split["test"]) == (16, [])
    assert len({label for _, label in by_split["train"]}) > 5
    assert status(run)["limited"] == ["trainer.overfit_batches=1"]
    assert float(metrics(run)[0]["error_rate"]) > 0
    assert status(run)["results"]["valid"]["error_rate"] == 0
    assert set(status(run)["results"]) == {"valid"}


def test_profile_writes_a_table_of_every_stage(pets: Pets, drawn: Path) -> None:
    pets("train", f"data.root={drawn}", *NETWORK, "plan.epochs=2", "debug=profile")
    (run,) = pets.runs()
    assert sorted(file.name for file in (run / "profile").iterdir()) == [
        "fit-body.txt",
        "fit-head.txt",
    ]
    assert "optimizer_step" in (run / "profile/fit-head.txt").read_text()
    assert "limited" not in status(run)


def test_a_fraction_of_less_than_a_batch_is_one_line(pets: Pets, drawn: Path) -> None:
    line = pets.one_line("train", f"data.root={drawn}", *NETWORK, "trainer.limit_val_batches=0.1")
    assert line == (
        "trainer.limit_val_batches=0.1: is less than one of 2 batches; expected a larger fraction, "
        "or a number of batches"
    )
    line = pets.one_line("train", f"data.root={drawn}", *NETWORK, "trainer.overfit_batches=0.02")
    assert line.startswith("trainer.overfit_batches=0.02: 1 photos of one class; expected more")
    assert not [run for run in pets.runs() if RunDir.open(run).state == "running"]


def test_too_few_steps_are_one_line_before_anything_is_trained(pets: Pets, drawn: Path) -> None:
    few = ("train", *NETWORK, "data.batch_size=32", "plan=unfrozen", "plan.epochs=1")
    # Known from the config: photos that are not there are not looked for.
    line = pets.one_line(*few, "data=folder", "data.root=gone", "debug=overfit", "plan.epochs=1")
    reason = "cannot rise and fall (batches in an epoch: {}); expected at least 4: more epochs, "
    start = "plan.stages.body.epochs=1: one_cycle over {} steps "
    assert line.startswith(start.format(1) + reason.format(1))
    line = pets.one_line(*few, f"data.root={drawn}")
    assert line.startswith(start.format(1) + reason.format(1))
    assert pets.runs() == []
