"""The commands in Python do what the commands do, and give back what they made."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pets.errors import PetsError, RunError
from pets.notebook import Learner, look, lr_find, train
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
    assert result.accuracy == pytest.approx(expected["accuracy"])
    assert (run / "report.html").stat().st_size > 100_000
    assert len(result.plot_top_losses(3).axes[0].images) == 6, "three photos, each with its heat"
    names = [text.get_text() for text in result.plot_confusion_matrix().axes[0].get_yticklabels()]
    assert sorted(names) == result.classes
    # fastai's methods, and any rows of the table as pictures.
    wrong = result.most_confused()
    assert sum(photos for _, _, photos in wrong) == (~result.correct).sum() > 0
    for rows in (result.random_correct(2), result.random_incorrect(1), result.most_uncertain(3)):
        assert len(result.show(rows, cams=False).axes[0].images) == len(rows) > 0
    nothing = result.show(result.top_losses(0))
    assert [text.get_text() for text in nothing.axes[0].texts] == ["no such photo"]
    kernels = result.plot_kernels().axes[0].images[0].get_array()
    assert kernels.shape[2] == 3
    assert [len(stage.patches) for stage in result.stages] == [2] * len(result.stages)
    rows = result.plot_patches(0).axes[0].texts
    assert [text.get_text() for text in rows] == [str(c) for c in result.stages[0].patches]


def test_what_comes_out_of_each_part(run: Path, drawn: Path) -> None:
    learn = Learner(run)
    result = learn.interpret("neighbours=0 channels=0 split=test trainer.precision=32-true")
    parts = learn.activations(*(drawn / path for path in result.table["path"][:3]))
    assert {name: tuple(values.shape) for name, values in parts.items()} == {
        "photos": (3, 3, 96, 96), "features": (3, 1280, 3, 3), "logits": (3, 10),
        "probabilities": (3, 10),
    }  # fmt: skip
    expected = result.probabilities[:3]
    assert np.allclose(parts["probabilities"].numpy(), expected, atol=1e-3)


def test_rates_and_weights_of_a_run(run: Path) -> None:
    learn, other = Learner(run), Learner(run)
    rates, momenta = learn.plot_sched().axes
    lengths = [len(line.get_ydata()) for line in rates.lines if len(line.get_ydata()) > 2]
    stages = learn.metrics.groupby("stage", sort=False)["step"].last()
    assert lengths == stages.diff().fillna(stages).tolist(), "every step of both stages"
    tops = [max(line.get_ydata()) for line in rates.lines if len(line.get_ydata()) > 2]
    assert tops == pytest.approx([3e-3, 1e-4], rel=0.05)
    assert min(momenta.lines[0].get_ydata()) == pytest.approx(0.85, abs=0.01)

    assert set(other.moved(learn)) == {0.0}
    with torch.no_grad():
        for weights in other.model.parameters():
            weights *= 1.25
    moved = other.moved(learn)
    assert moved.index.tolist() == [name for name, _ in learn.model.layer_groups]
    assert moved.tolist() == pytest.approx([0.25] * len(moved), rel=1e-4)
    other.model.head = torch.nn.Linear(1280, 2)
    with pytest.raises(PetsError, match="has another network than"):
        other.moved(learn)


def test_it_finds_the_rate_of_a_fresh_head(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ("model=efficientnet_lite0", "data.size=96", "data.num_workers=0", "precompute=true")
    search = lr_find(shlex.join([f"data.root={drawn}", *args, "trainer.precision=32-true"]))
    assert search.title.startswith("fresh_head")
    assert 1e-4 < search.rates()["found"] < 1


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
    assert data.classes == sorted(set(rows.label))
    assert data.files() == [drawn / path for path in rows.path]
    assert data.files("valid") == [drawn / path for path in rows.path[rows.split == "valid"]]
    with pytest.raises(PetsError, match="vaild: no such split; expected train, valid, test"):
        data.files("vaild")
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
