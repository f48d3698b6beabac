"""`pets interpret` and report=true: the predictions table and the files beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyarrow.parquet import read_schema
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pets.demo import draw_pets
from pets.interpretation import Interpretation
from pets.training.checkpoints import read_checkpoint
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, status, weights

FLOAT = "trainer.precision=32-true"  # as the run measured, whatever is fast here


@pytest.fixture(scope="module")
def studied(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run, interpreted."""
    pets = Pets(tmp_path_factory.mktemp("studied"))
    shutil.copytree(trained, pets.folder / "run")
    output = pets("interpret", "run=run", FLOAT).stdout
    assert "20 test photos right" in output
    assert output.strip().endswith("report run/report.html")
    return pets.folder / "run"


def read_about(file: Path) -> dict[str, Any]:
    """What a table says of itself: classes, run, checkpoint, views."""
    return json.loads(read_schema(file).metadata[b"pets"])


def table(run: Path, name: str = "test") -> Path:
    return run / "interpret" / name / "predictions.parquet"


@pytest.mark.core
def test_the_table_says_what_the_evaluation_measured(studied: Path) -> None:
    expected = status(studied)["results"]
    photos = pd.read_csv(studied / "photos.csv")
    everything = Interpretation.load(table(studied))
    assert sorted(everything.table["path"]) == sorted(photos["path"])
    labels = everything.table.set_index("path")[["label", "split"]]
    pd.testing.assert_frame_equal(
        labels.sort_index(), photos.set_index("path")[["label", "split"]].sort_index()
    )
    for split in ("valid", "test"):
        result = Interpretation.load(table(studied), split)
        assert result.accuracy == pytest.approx(expected[split]["accuracy"])
        assert result.table["loss"].mean() == pytest.approx(expected[split]["loss"], abs=1e-5)
        by_class = result.classification_report()["recall"].to_dict()
        assert by_class == pytest.approx(expected[split]["per_class"])
    assert np.exp(everything.log_probabilities).sum(1) == pytest.approx(1, abs=1e-5)
    wrong = everything.of("test").table.query("label != prediction")
    assert sum(n for _, _, n in everything.of("test").most_confused()) == len(wrong)
    assert read_about(table(studied))["ckpt"] == "last"
    summary = json.loads((studied / "interpret/test/summary.json").read_text())
    assert summary["accuracy"] == pytest.approx(expected["test"]["accuracy"])
    low, high = summary["accuracy_interval"]
    assert low <= summary["accuracy"] <= high
    assert low < high
    # What was measured while training, batch by batch, is what the table's rows give.
    about = read_checkpoint(studied / "checkpoints/last.ckpt")["pets"]
    assert about["temperature"] == pytest.approx(summary["temperature"], rel=1e-3)


@pytest.mark.core
def test_a_column_read_by_anybody(studied: Path) -> None:
    frame = pd.read_parquet(table(studied))
    assert list(frame) == [
        "path", "split", "label", "prediction", "loss", "margin", "entropy",
        "log_probabilities", "probabilities",
    ]  # fmt: skip
    classes = json.loads((studied / "data.json").read_text())["classes"]
    assert read_about(table(studied))["classes"] == classes
    row = frame.iloc[3]
    assert classes[int(np.argmax(row.probabilities))] == row.prediction
    assert row.loss == pytest.approx(-row.log_probabilities[classes.index(row.label)])
    first, second = sorted(row.probabilities)[:-3:-1]
    assert row.margin == pytest.approx(first - second, abs=1e-6)


@pytest.mark.core
def test_a_report_after_training_changes_nothing(trained: Path, pets: Pets, drawn: Path) -> None:
    output = pets("train", f"data.root={drawn}", *SMALL, "report=true").stdout
    (run,) = pets.runs()
    assert metrics(run) == metrics(trained)
    assert same(weights(run), weights(trained))
    assert status(run)["results"] == status(trained)["results"]
    assert f"report {run.relative_to(pets.folder)}/report.html" in output
    assert (run / "report.html").stat().st_size > 100_000
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    tags = {t.removeprefix("interpret/test/") for t in events.Reload().Tags()["images"]}
    assert {
        "confusion_matrix", "calibration", "top_losses", "random_correct", "random_incorrect",
        "most_uncertain", "most_confused",
        "data/classes", "data/sizes", "data/augmented",
        "first_kernels", "layers/blocks.0", "layers/blocks.6",
    } <= tags  # fmt: skip
    (top,) = events.Images("interpret/test/top_losses")
    assert min(top.width, top.height) >= 600
    assert top.step == int(metrics(run)[-1]["step"])


def test_a_report_that_fails_leaves_the_run_finished(pets: Pets, drawn: Path) -> None:
    short = ["plan=frozen4", "plan.stages.head.epochs=2", "report=true"]
    blocker = pets.folder / "outputs/run/interpret"
    blocker.parent.mkdir(parents=True)
    blocker.write_text("in the way")
    args = ["train", f"data.root={drawn}", *SMALL[:-2], *short, "hydra.run.dir=outputs/run"]
    output = pets(*args).stdout
    assert "no report: outputs/run/interpret/test: cannot be written" in output
    assert "try pets interpret run=outputs/run" in output
    assert "test   accuracy" in output
    assert status(pets.folder / "outputs/run")["state"] == "finished"
    line = pets.one_line("interpret", "run=outputs/run")
    assert line.startswith("outputs/run/interpret/test: cannot be written (Not a directory)")
    blocker.unlink()
    pets("interpret", "run=outputs/run")
    assert (pets.folder / "outputs/run/report.html").exists()


@pytest.mark.parametrize(
    ("given", "args"),
    [
        (["precompute=true"], "photos as they are here, without augmentation."),
        (["augment=none"], "photos as they are here, without augmentation."),
        (["precompute=true", "precompute.views=2"], "beside it 2 augmented views. Stage head drew"),
    ],
)
def test_the_report_shows_what_the_training_saw(
    pets: Pets, drawn: Path, given: list[str], args: str
) -> None:
    frozen = ["plan=frozen4", "plan.stages.head.epochs=2", "report=true"]
    pets("train", f"data.root={drawn}", *SMALL[:-2], *frozen, "interpret.channels=0", *given)
    (run,) = pets.runs()
    page = (run / "report.html").read_text()
    assert args in page
    assert ("augmented view" in page.partition('id="config"')[0]) == ("views=2" in given[-1])


def test_another_split_and_the_mean_of_named_views(studied: Path, pets: Pets, drawn: Path) -> None:
    output = pets(
        "interpret", f"run={studied}", "split=valid", "tta=8", "neighbours=0", FLOAT
    ).stdout
    assert "20 valid photos right" in output
    folder = studied / "interpret/valid_tta8"
    assert (folder / "report.html").exists()
    result = Interpretation.load(folder / "predictions.parquet")
    assert set(result.table["split"]) == {"valid"}
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["views"]) == [
        "centre", "flip", "whole", "whole_flip",
        "top_left", "top_right", "bottom_left", "bottom_right",
    ]  # fmt: skip
    assert summary["views"]["centre"] == pytest.approx(
        status(studied)["results"]["valid"]["accuracy"]
    )

    import torch

    from pets.data.images import open_rgb
    from pets.data.transforms import normalize, to_tensor
    from pets.data.views import NAMES, Views
    from pets.run_dir import RunDir
    from pets.training.checkpoints import load_run

    model = load_run(RunDir.open(studied)).model
    photo = to_tensor(open_rgb(drawn / result.table.at[0, "path"]))
    views = Views(NAMES, model.size, model.preprocess)(photo)
    with torch.inference_mode():
        mean = model(normalize(model.preprocess)(views)).softmax(1).mean(0)
    assert result.probabilities[0] == pytest.approx(mean.numpy(), abs=1e-5)


def test_other_photos(studied: Path, pets: Pets, drawn: Path) -> None:
    other = pets.folder / "found"
    for label, source in (("saddle_hound", "saddle_hound"), ("Zebra", "Tuxedo_Velvet")):
        (other / label).mkdir(parents=True)
        for number in (1, 2, 3):
            shutil.copy(drawn / f"images/{source}_{number}.jpg", other / label / f"{number}a.jpg")
    (other / "saddle_hound/cut.jpg").write_bytes((other / "Zebra/1a.jpg").read_bytes()[:400])
    line = pets.one_line("interpret", f"run={studied}", "data.root=found")
    # Copies of a few of its photos: not all of a split, and not other photos.
    assert line.startswith("found: of the run's 20 test photos 19 missing (")
    assert "data.root=found data.label_from=folder" in line
    output = pets("interpret", f"run={studied}", "data.root=found", "data.label_from=folder").stdout
    assert "left out 3 photos of Zebra, which the model does not know" in output
    assert "left out: found/saddle_hound/cut.jpg: cannot be read as an image" in output
    (folder,) = (studied / "interpret").glob("other_found_*")
    frame = pd.read_parquet(folder / "predictions.parquet")
    mine = frame[frame.split == "other"]
    assert mine["path"].tolist() == [f"saddle_hound/{n}a.jpg" for n in (1, 2, 3)]
    assert set(frame.split) == {"other", "valid", "train"}
    page = (folder / "report.html").read_text()
    assert "Photos that could not be read" in page
    # Copies of training photos flatter: two of the three are such.
    own = pd.read_csv(studied / "photos.csv").set_index("path").split
    copies = sum(own[f"images/saddle_hound_{n}.jpg"] == "train" for n in (1, 2, 3))
    assert f"{copies} of the 3 other photos are near-duplicates of training photos" in output
    assert json.loads((folder / "summary.json").read_text())["same_as_training_photos"] == copies
    assert set(pd.read_csv(folder / "suspects.csv").split) <= {"other"}


def test_photos_of_a_split_that_are_not_there_are_an_error(
    studied: Path, pets: Pets, drawn: Path
) -> None:
    photos = pets.folder / "photos"
    shutil.copytree(drawn, photos)
    rows = pd.read_csv(studied / "photos.csv")
    gone, broken = rows[rows.split == "test"].path[:2]
    (photos / gone).unlink()
    (photos / broken).write_bytes(b"no image")
    run = pets.folder / "run"
    shutil.copytree(studied, run)
    before = (run / "report.html").read_bytes()
    line = pets.one_line("interpret", "run=run", "data.root=photos")
    assert f"the run's 20 test photos 1 missing ({gone}) and 1 changed ({broken}); put" in line
    assert "data.root=photos data.label_from=" in line
    assert (run / "report.html").read_bytes() == before
    # Beside the split it does without what is not there, and says so.
    output = pets("interpret", "run=run", "data.root=photos", "split=valid", "channels=0").stdout
    assert "of the run's 100 photos 1 missing" in output
    assert (run / "report.html").read_bytes() == before
    result = Interpretation.load(run / "interpret/valid/predictions.parquet").table
    assert set(result.path) == set(rows[rows.split != "test"].path)


def test_wrong_words_are_one_line(studied: Path, pets: Pets, drawn: Path) -> None:
    run = f"run={studied}"
    for args, start in (
        (["tta=9"], "tta=9: expected a number of at most 8"),
        (["tta=two"], "tta=two: expected a whole number"),
        (["split=testing"], "split=testing: expected 'auto', 'train', 'valid' or 'test'"),
        (["neighbors=3"], "neighbors: no such key; did you mean neighbours?"),
        (["data.label_from=folder"], "data.label_from=folder: has no effect on the run's own"),
        (["data.root=nowhere"], "data.root=nowhere: no such folder"),
        (["channels=[0,5,999]"], "channels=[0, 5, 999]: no stage has a channel 999; the widest is"),
        (["channels=many"], "channels=many: expected a whole number of at least 0, or a list"),
        (["trainer.devices=2"], "trainer.devices=2: this runs on one device"),
    ):
        assert pets.one_line("interpret", run, *args).startswith(start)
    (pets.folder / "empty").mkdir()
    line = pets.one_line("interpret", run, "data.root=empty", "split=valid")
    assert line.startswith("split=valid: empty holds none of the run's photos")
    assert "is not a run directory" in pets.one_line("interpret", "run=nowhere")


def test_planted_wrong_labels_are_proposed_and_put_right(pets: Pets) -> None:
    # Enough photos a class for a model to have an opinion of its own.
    root = pets.folder / "photos"
    draw_pets(root, per_breed=24, size=96)
    names = sorted(path.name for path in (root / "images").glob("*.jpg"))
    labels = {name: name.rsplit("_", 1)[0] for name in names}
    planted = {
        "Tuxedo_Velvet_3.jpg": "saddle_hound",
        "snow_sled_dog_5.jpg": "Silk_Sealpoint",
        "spotted_terrier_8.jpg": "Tuxedo_Velvet",
    }
    rows = [{"path": f"images/{n}", "label": planted.get(n, label)} for n, label in labels.items()]
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    small = ["data=table", "data.root=photos", *SMALL[:-2], "data.test_pct=0.2", "plan=frozen4"]
    pets("train", *small, "report=true", "interpret.channels=0")
    (run,) = pets.runs()
    csv = run / "interpret/test/suspects.csv"
    suspects = pd.read_csv(csv)
    assert list(suspects) == ["path", "split", "given", "label", "p_given", "p_label"]
    # What else is proposed depends on how well it has learnt; that these are does not.
    keep = suspects[[Path(path).name in planted for path in suspects.path]]
    result = [Path(path).name for path in keep.path]
    assert dict(zip(result, keep.given, strict=True)) == planted
    assert [labels[name] for name in result] == keep.label.tolist()

    keep.to_csv(pets.folder / "fixes.csv", index=False)
    before = (root / "labels.csv").read_bytes()
    output = pets("train", *small, "plan.stages.head.epochs=1", "data.relabel=fixes.csv").stdout
    assert "data.relabel=fixes.csv: changed 3 labels (2 train, 1 valid)" in output
    before_and_after = [
        pd.read_csv(run / "photos.csv").set_index("path").split for run in pets.runs()
    ]
    pd.testing.assert_series_equal(*before_and_after)
    again = pd.read_csv(pets.runs()[-1] / "photos.csv")
    assert {Path(p).name: label for p, label in zip(again.path, again.label, strict=True)} == labels
    assert (root / "labels.csv").read_bytes() == before


def test_names_that_mean_something_elsewhere(pets: Pets, drawn: Path) -> None:
    """Formulas, HTML, other alphabets, control signs: a whole run with its pictures and report."""
    names = [
        "$", "$$", "a$_{$", r"\frac{", "100%#", "<b>&amp;", "日本🐈", "\u202eابجد", "new\nline",
        "x" * 200,
    ]  # fmt: skip
    files = ["$x^{{{}.jpg", "new\nline{}.jpg", "<i>{}.jpg", "日本{}.jpg", "_{}%.jpg"]
    photos = iter(sorted((drawn / "images").glob("*.jpg")))
    for name in names:
        for number in range(5):
            file = pets.folder / "photos" / name / files[number].format(number)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(next(photos), file)
    given = ("data=folder", "data.root=photos", "data.size=64", "data.num_workers=0")
    looked = pets("look", *given, "photos=10")
    assert looked.stderr == ""
    trained = pets(
        "train", *given, "model=efficientnet_lite0", "plan=frozen4", "plan.stages.head.epochs=1",
        "precompute=true", "trainer.precision=32-true", "report=true",
        "interpret.channels=1", "data.batch_size=8",
    )  # fmt: skip
    assert trained.stderr == ""
    assert len(list(pets.folder.rglob("outputs/*_look_*/*.png"))) == 4
    (run,) = pets.runs()
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    report = (run / "report.html").read_text()
    assert "&lt;b&gt;&amp;amp;" in report
    assert "<b>&amp;" not in report
