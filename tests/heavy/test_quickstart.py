"""`make demo`: the drawn pets, from nothing to a trained model."""

import json
from pathlib import Path

from tests.integration.conftest import Pets


def test_the_quickstart_draws_trains_and_says_where_everything_is(tmp_path: Path) -> None:
    pets = Pets(tmp_path)
    output = pets("train", "experiment=quickstart").stdout
    (run,) = pets.runs()
    assert len(list((tmp_path / "data/demo-pets/images").glob("*.jpg"))) == 800
    results = json.loads((run / "status.json").read_text())["results"]
    assert results["test"]["photos"] == 160
    assert results["test"]["accuracy"] >= 0.7
    assert f"report {run.relative_to(tmp_path)}/report.html" in output
    assert (run / "report.html").stat().st_size > 1_000_000
    assert f"run    {run.relative_to(tmp_path)}" in output
    assert f"pets predict run={run.relative_to(tmp_path)}" in output
    # Most mistakes are inside the pairs that are meant to be alike.
    twins = {"Harbour_Blue", "Slate_Fold", "coast_bull_terrier", "valley_bull_terrier"}
    wrong = {name: 1 - recall for name, recall in results["test"]["per_class"].items()}
    assert sum(wrong[name] for name in twins) >= sum(wrong.values()) / 2
