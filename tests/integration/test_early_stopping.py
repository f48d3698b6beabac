"""A stage that no longer gets better ends early; a resumed run knows."""

import json
import shutil
from pathlib import Path

import pytest

from pets.training.checkpoints import read_checkpoint
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, scalars, status, tags, weights
from tests.integration.test_resume import killed_after

# No epoch is better by one than the first, so every stage ends after its second epoch.
STOPPING = (
    "callbacks=early_stopping", "callbacks.early_stopping.patience=1",
    "callbacks.early_stopping.min_delta=1", "metrics=[top3,auroc]", "monitor=valid/auroc",
    "plan.stages.head.epochs=6", "plan.stages.head.schedule=constant",
    "plan.stages.body.epochs=6", "plan.stages.body.schedule=constant",
)  # fmt: skip


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    """A finished run of two stages that were stopped early, with what it printed."""
    pets = Pets(tmp_path_factory.mktemp("early"))
    result = pets("train", f"data.root={drawn}", *SMALL[:5], *STOPPING)
    (run,) = pets.runs()
    (run / "screen").write_text(result.stdout + result.stderr)
    return run


def test_every_stage_stops_and_the_next_one_counts_anew(early: Path) -> None:
    stages = [(row["stage"], row["epoch"]) for row in metrics(early)]
    assert stages == [("head", "1"), ("head", "2"), ("body", "1"), ("body", "2")]
    assert [e.step for e in scalars(early, "lr/head")] == list(range(12))
    assert (early / "screen").read_text().count("stopped early, after 2 of 6 epochs") == 2
    assert read_checkpoint(early / "checkpoints/last.ckpt")["pets"]["stopped_early"]


def test_what_was_monitored_is_in_the_status_and_chose_the_best(early: Path, pets: Pets) -> None:
    assert status(early)["monitor"]["name"] == "auroc"
    values = [float(row["auroc"]) for row in metrics(early)]
    pets("eval", f"run={early}", "split=valid", "ckpt=best")
    found = json.loads((early / "eval" / "valid_best.json").read_text())
    assert found["auroc"] == pytest.approx(max(values), abs=1e-6)
    assert {"valid/auroc", "valid/top3", "hparams/valid_auroc", "valid/loss"} <= {*tags(early)}


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_killed_and_resumed_is_as_if_never_stopped(
    early: Path, pets: Pets, drawn: Path, rows: int
) -> None:
    """Killed inside the first stage, at its early end, and inside the second."""
    run = killed_after(pets, rows, f"data.root={drawn}", *SMALL[:5], *STOPPING)
    pets("train", f"resume={run}")
    assert metrics(run) == metrics(early)
    assert same(weights(run), weights(early))
    assert status(run)["results"] == status(early)["results"]


def test_killed_before_its_results_trains_no_epoch_more(early: Path, tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "run"
    shutil.copytree(early, run)
    found = status(run)
    results = found.pop("results")
    (run / "status.json").write_text(json.dumps(found | {"state": "running"}))
    Pets(tmp_path)("train", f"resume={run}")
    assert metrics(run) == metrics(early)
    assert same(weights(run), weights(early))
    assert status(run)["results"] == results


def test_on_activations(pets: Pets, drawn: Path) -> None:
    """The second stage follows the activations' last checkpoint, wherever that was written."""
    args = (f"data.root={drawn}", *SMALL[:5], *STOPPING, "precompute=true")
    first = Pets(pets.folder / "first")
    first.folder.mkdir()
    first("train", *args)
    (whole,) = first.runs()
    assert [row["stage"] for row in metrics(whole)] == ["head", "head", "body", "body"]
    second = Pets(pets.folder / "second")
    second.folder.mkdir()
    run = killed_after(second, 2, *args)
    second("train", f"resume={run}")
    assert metrics(run) == metrics(whole)
    assert same(weights(run), weights(whole))


def test_the_report_draws_the_curve_whose_area_is_measured(early: Path, pets: Pets) -> None:
    pets("interpret", f"run={early}", "split=test")
    page = (early / "report.html").read_text()
    assert '<section id="curves">' in page
    assert "ROC curves, over all classes" in page  # average precision is not measured
    assert "Training and validation loss, and validation auroc, after every epoch" in page
    summary = json.loads((early / "interpret" / "test" / "summary.json").read_text())
    found = status(early)["results"]["test"]
    for name in ("auroc", "top3"):
        assert summary[name] == pytest.approx(found[name], abs=1e-6)
