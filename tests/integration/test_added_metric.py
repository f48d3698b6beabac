"""A registered metric appears wherever numbers are shown; runs without it are still read."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pets.summary.page import as_page
from pets.summary.settings import summarize
from pets.summary.tables import as_csv
from pets.training.metrics_csv import read_metrics, write_metrics
from tests.integration.conftest import SMALL
from tests.integration.runs import tags

NAME = "top3_accuracy"
# All that adding a metric takes, in front of the command itself.
WITH_METRIC = f"""
from torchmetrics.classification import MulticlassAccuracy
from pets.metrics import METRICS, SplitMetric

def top3_accuracy(classes):
    return MulticlassAccuracy(classes, top_k=min(3, classes), average="micro")

METRICS.add(SplitMetric("{NAME}", "the label is among the three likeliest", top3_accuracy))

from pets.cli.main import main
main()
"""


def pets_with_metric(folder: Path, *args: str) -> str:
    """Run `pets ...` with the metric; returns what it printed."""
    ended = subprocess.run(
        [sys.executable, "-c", WITH_METRIC, *args],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def sweep(trained: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs: `with` has the metric, `without` was trained without it."""
    folder = tmp_path_factory.mktemp("metric")
    shutil.copytree(trained, folder / "without")
    args = [f"data.root={drawn}", *SMALL, "plan.stages.body.epochs=2", "hydra.run.dir=with"]
    (folder / "screen").write_text(pets_with_metric(folder, "train", *args))
    (folder / "screen").rename(folder / "with" / "screen")
    return folder


def test_it_is_a_column_on_the_screen_in_tensorboard_and_in_the_results(sweep: Path) -> None:
    run = sweep / "with"
    values = [row[NAME] for row in read_metrics(run / "metrics.csv")]
    assert len(values) == 4
    assert all(0 < value <= 1 for value in values)
    state = json.loads((run / "status.json").read_text())
    assert state["metrics"][NAME] == values[-1]
    assert all(result[NAME] >= result["accuracy"] for result in state["results"].values())
    assert {f"valid/{NAME}", f"hparams/valid_{NAME}", f"hparams/test_{NAME}"} <= {*tags(run)}
    screen = (run / "screen").read_text()
    (header, *_), *_ = ([line] for line in screen.splitlines() if "train_loss" in line)
    assert header.split() == ["epoch", "train_loss", "valid_loss", "error_rate", NAME, "time"]
    assert f"{values[0]:.6f}" in screen
    assert f"top3 accuracy {100 * state['results']['test'][NAME]:.2f} %" in screen


def test_the_report_has_it(sweep: Path) -> None:
    pets_with_metric(sweep, "interpret", "run=with", "trainer.precision=32-true")
    state = json.loads((sweep / "with" / "status.json").read_text())
    summary = json.loads((sweep / "with" / "interpret" / "test" / "summary.json").read_text())
    assert summary[NAME] == pytest.approx(state["results"]["test"][NAME])
    assert "<dt>top3 accuracy</dt>" in (sweep / "with" / "report.html").read_text()


def test_eval_measures_it_of_a_run_trained_without_it(sweep: Path) -> None:
    args = ("eval", "run=without", "split=test", "trainer.precision=32-true")
    screen = pets_with_metric(sweep, *args)
    result = json.loads((sweep / "without" / "eval" / "test_last.json").read_text())
    assert f"{100 * result[NAME]:.2f} %" in screen
    assert result["accuracy"] <= result[NAME] <= 1


def test_a_summary_has_it_and_an_empty_cell_for_a_run_without_it(sweep: Path) -> None:
    summary = summarize(sweep)
    with_it, without = csv.DictReader(as_csv(summary).splitlines())
    assert 0 < float(with_it[f"valid_{NAME}"]) <= 1
    assert 0 < float(with_it[f"test_{NAME}"]) <= 1
    assert without[f"valid_{NAME}"] == without[f"test_{NAME}"] == ""
    assert "top3 accuracy" in as_page(summary)


def test_a_run_goes_on_with_a_metric_more_and_with_one_less(
    pets_resumed: list[Path],
) -> None:
    more, less = pets_resumed
    first, *_, last = read_metrics(more / "metrics.csv")
    assert math.isnan(first[NAME])
    assert 0 < last[NAME] <= 1
    assert pd.read_csv(more / "metrics.csv")[NAME].isna().tolist()[0]
    first, *_, last = read_metrics(less / "metrics.csv")
    assert 0 < first[NAME] <= 1
    assert math.isnan(last[NAME])


@pytest.fixture
def pets_resumed(sweep: Path, tmp_path: Path) -> list[Path]:
    """Tables as a resumed run writes them: what was read, then a row with other metrics."""
    tables = []
    for run, other in (("without", "with"), ("with", "without")):
        rows = read_metrics(sweep / run / "metrics.csv")[:1]
        rows += read_metrics(sweep / other / "metrics.csv")[1:2]
        (tmp_path / run).mkdir()
        write_metrics(tmp_path / run / "metrics.csv", rows)
        tables.append(tmp_path / run)
    return tables
