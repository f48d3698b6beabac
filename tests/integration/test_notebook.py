"""The commands in Python do what the commands do, and give back what they made."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pets.errors import RunError
from pets.notebook import Learner, look, train
from pets.run_dir import RunDir
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, status, weights


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, below the current folder, with a name that Hydra must be told plainly."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "my run")
    return Path("my run")


def test_it_trains_as_the_command_does(
    trained: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    args = shlex.join([f"data.root={drawn}", *SMALL])
    learn = train(args)
    output = capsys.readouterr()
    assert same(weights(learn.path), weights(trained))
    assert metrics(learn.path) == metrics(trained)
    assert learn.run.overrides == RunDir.open(trained).overrides
    assert learn.path.parts[0] == "outputs"
    assert output.err == ""
    assert output.out.startswith(f"$ pets train {args}\n")
    assert "stage body: 3 epochs" in output.out
    assert "next:" not in output.out
    # The run has its log, and goes on being written to by nobody.
    log = (learn.path / "train.log").read_text()
    assert "stage body: 3 epochs" in log
    logging.getLogger("pets").warning("not for the run")
    assert (learn.path / "train.log").read_text() == log

    table = learn.metrics
    assert table["stage"].tolist() == ["head"] * 2 + ["body"] * 3
    final = status(trained)["results"]["valid"]["error_rate"]
    assert table["error_rate"].iloc[-1] == pytest.approx(final)


def test_it_interprets_and_draws(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = Learner(run).interpret("neighbours=0 channels=2 patches=3 split=test")
    typed = shlex.join(["pets", "interpret", "run='my run'", "neighbours=0"])
    assert f"$ {typed}" in capsys.readouterr().out
    expected = status(run)["results"]["test"]
    assert result.found.accuracy == pytest.approx(expected["accuracy"])
    assert (run / "report.html").stat().st_size > 100_000
    assert len(result.plot_top_losses(3).axes[0].images) == 6, "three photos, each with its heat"
    names = [text.get_text() for text in result.plot_confusion_matrix().axes[0].get_yticklabels()]
    assert sorted(names) == result.found.classes
    kernels = result.plot_kernels().axes[0].images[0].get_array()
    assert kernels.shape[2] == 3
    assert [len(stage.patches) for stage in result.stages] == [2] * len(result.stages)
    rows = result.plot_patches(0).axes[0].texts
    assert [text.get_text() for text in rows] == [str(c) for c in result.stages[0].patches]


def test_it_finds_the_rate(run: Path) -> None:
    search = Learner(run).lr_find("freeze_to=-1 lr_finder.steps=30 lr_finder.method=[slide,valley]")
    (file,) = (run / "lr_finder").glob("*.json")
    written = json.loads(file.read_text())
    assert written["steps"] == len(search.curve.lrs)
    low, high = search.rates()["lr"]
    assert high == pytest.approx(written["suggestions"][search.rates()["method"]], rel=1e-2)
    assert low == pytest.approx(high / 100, rel=1e-2)
    assert search.picture().axes[0].get_xscale() == "log"


def test_it_looks_and_predicts(run: Path, drawn: Path, pets: Pets) -> None:
    data = look(f"data.root={drawn} data.size=96")
    rows = pd.read_csv(run / "photos.csv")
    assert data.table.equals(rows[["path", "label", "split"]])
    titles = [text.get_text() for text in data.show_batch(5).axes[0].texts]
    assert len(titles) == 5
    assert set(titles) <= set(rows.label)
    assert len(data.show_augmented(2).axes[0].images) == 12

    source = pets.folder / "two photos"
    source.mkdir()
    for photo in data.photos.of("test")[:2]:
        shutil.copy(drawn / photo.path, source)
    answer = Learner(run).predict(source)
    pets("predict", f"run='{run}'", f"source='{source}'", "out=p.csv")
    assert answer.equals(pd.read_csv(pets.folder / "p.csv"))
    assert answer.file.map(lambda name: Path(name).exists()).all()


def test_an_unfinished_run_is_refused(run: Path) -> None:
    state = status(run) | {"state": "interrupted"}
    (run / "status.json").write_text(json.dumps(state))
    with pytest.raises(RunError, match="is not finished"):
        Learner(run)
