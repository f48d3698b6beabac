"""A sweep over the folds of a k-fold split, and its predictions as one."""

from pathlib import Path

import pandas as pd
import pytest

from pets.interpretation import Interpretation
from tests.integration.conftest import FLOAT, Pets
from tests.integration.runs import status

ARGS = (
    "data.size=96", "data.num_workers=0", FLOAT, "plan=frozen4", "plan.stages.head.epochs=3",
    "plan.stages.head.lr=1e-2", "precompute=true", "data.split=kfold", "data.folds=3",
    "data.test_pct=0",
)  # fmt: skip


@pytest.mark.core
def test_the_predictions_of_all_folds_are_pooled(pets: Pets, drawn: Path) -> None:
    output = pets("train", "-m", f"data.root={drawn}", *ARGS, "data.fold=0,1,2").stdout
    runs = pets.runs()
    sweep = runs[0].parent
    pooled = Interpretation.load(sweep / "out_of_fold.parquet")
    photos = pd.concat([pd.read_csv(run / "photos.csv") for run in runs])
    held_out = photos[photos.split == "valid"].set_index("path").label
    assert sorted(held_out.index) == sorted(set(photos.path)) == sorted(pooled.table.path)
    assert len(pooled) == 100
    assert (held_out[pooled.table.path].to_numpy() == pooled.table.label).all()

    # As each run has measured it.
    results = [status(run)["results"]["valid"] for run in runs]
    right = sum(round(result["accuracy"] * result["photos"]) for result in results)
    assert 20 < right < 100
    assert pooled.correct.sum() == right
    loss = sum(result["loss"] * result["photos"] for result in results) / 100
    assert pooled.table.loss.mean() == pytest.approx(loss, abs=1e-5)

    low, high = pooled.accuracy_interval
    line = (
        f"Out of fold {right:.1f} % of 100 photos are right (95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f} %), each predicted by a run that was not trained on it; the lowest clas"
    )
    assert line in output
    assert "mean of 3 runs" in output, "folds are one setting"
    page = (sweep / "summary.html").read_text()
    assert line.replace(" %", "\N{NO-BREAK SPACE}%") in page
    worst = pooled.classification_report().recall.min()
    assert f"{100 * worst:.1f} %" in page.partition('id="classes"')[2].partition("</section>")[0]

    # Without the predictions of a run there is nothing to pool; the rest of the summary stays.
    (runs[1] / "out_of_fold.parquet").unlink()
    output = pets("summarize", f"sweep={sweep}").stdout
    assert "Its folds cannot be pooled: not all of its runs have their predictions." in output
