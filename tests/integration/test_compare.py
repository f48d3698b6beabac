"""`pets compare`: two trained runs on the same photos, and the count of looks at these."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from scipy.stats import binomtest

from pets.comparison.comparison import Comparison
from pets.notebook import Learner
from pets.training.looks import FILE
from tests.integration.browser import opened
from tests.integration.conftest import FLOAT, SMALL, Pets
from tests.integration.runs import status

# One epoch of the head: much worse than the trained run.
WEAK = (*SMALL[:-2], "plan=frozen4", "plan.stages.head.epochs=1", "data.batch_size=8")


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    pets = Pets(tmp_path_factory.mktemp("weak"))
    pets("train", f"data.root={drawn}", *WEAK)
    (run,) = pets.runs()
    return run


@pytest.fixture
def two(
    weak: Path, trained: Path, pets: Pets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Pets:
    """A folder with a copy of each run, `weak` and `strong`, that nobody has looked at since it was
    trained."""
    monkeypatch.setenv("PETS_CACHE", str(tmp_path / "cache"))
    for name, run in (("weak", weak), ("strong", trained)):
        shutil.copytree(run, pets.folder / name)
        looks = pets.folder / name / FILE
        looks.write_text(looks.read_text().splitlines(keepends=True)[0])
    return pets


def found(pets: Pets) -> dict[str, Any]:
    (file,) = pets.folder.glob("outputs/*_compare_*/compare.json")
    return json.loads(file.read_text())


def predicted(pets: Pets, run: str, files: list[str]) -> list[str]:
    """What `pets predict` says of photos."""
    (pets.folder / "list.txt").write_text("\n".join(files))
    pets("predict", f"run={run}", "source=list.txt", f"out={run}.csv", "device=cpu")
    return pd.read_csv(pets.folder / f"{run}.csv").prediction.tolist()


@pytest.mark.core
def test_it_finds_the_photos_that_flipped_and_whether_that_is_chance(
    two: Pets, drawn: Path
) -> None:
    output = two("compare", "weak", "strong").stdout
    result = found(two)
    rows = pd.read_csv(two.folder / "strong/photos.csv").query("split == 'test'")
    files = [str(drawn / path) for path in rows.path]
    old, new = (
        [says == is_ for says, is_ in zip(predicted(two, run, files), rows.label, strict=True)]
        for run in ("weak", "strong")
    )
    won = {path for path, a, b in zip(rows.path, old, new, strict=True) if b and not a}
    lost = {path for path, a, b in zip(rows.path, old, new, strict=True) if a and not b}
    assert len(won) > len(lost)
    assert {row["path"] for row in result["flips"]["won"]} == won
    assert {row["path"] for row in result["flips"]["lost"]} == lost
    assert (result["only_new"], result["only_old"]) == (len(won), len(lost))
    assert result["p"] == pytest.approx(binomtest(len(won), len(won) + len(lost)).pvalue)
    low, high = result["interval"]
    assert low < result["difference"] == (len(won) - len(lost)) / 20 < high
    for word, run in (("old", "weak"), ("new", "strong")):
        expected = status(two.folder / run)["results"]["test"]
        assert result[f"{word}_accuracy"] == pytest.approx(expected["accuracy"])
        by_class = {name: row[f"{word}_accuracy"] for name, row in result["per_class"].items()}
        assert by_class == pytest.approx(expected["per_class"])
    changes = {row["key"]: (row["old"], row["new"]) for row in result["config"]}
    assert changes["data.batch_size"] == ("8", "16")
    assert changes["plan.stages.body.epochs"] == ("–", "3")
    assert "data.root" not in changes
    assert result["data"]["shared"] == 100
    assert result["data"]["moved"] == {}
    better = "is better than" if result["p"] < 0.05 else "cannot be told apart"
    assert better in output
    assert f"Photos right in the new run alone: {len(won)}, in the old run" in output


@pytest.mark.core
def test_the_exit_code_says_whether_it_is_worse(two: Pets) -> None:
    two("compare", "weak", "strong", "fail_on=worse")
    result = two("compare", "strong", "weak", "fail_on=worse", "hydra.run.dir=out", code=3)
    output = result.stdout
    assert "fail_on=worse: fewer photos right; exit code 3" in output + result.stderr
    assert "weak is worse than strong" in output or "cannot be told apart" in output
    worse = json.loads((two.folder / "out/compare.json").read_text())
    assert worse["difference"] < 0
    two("compare", "strong", "weak", code=3 if worse["p"] < 0.05 else 0)
    two("compare", "strong", "weak", "fail_on=never")


@pytest.mark.core
def test_looks_at_the_test_photos_are_counted_over_commands_and_runs(two: Pets) -> None:
    """Both runs looked when they were trained, before this cache."""
    output = two("eval", "run=strong").stdout
    assert "these photos were looked at twice, by 1 run" in output
    result = json.loads((two.folder / "strong/eval/test_last.json").read_text())
    assert result["looks"] == {"times": 2, "runs": 1}
    assert "looked at" not in two("eval", "run=strong", "split=valid").stdout
    output = two("compare", "weak", "strong").stdout
    # Three of strong, two of weak: in both its training counts, which only the run knows.
    assert "These photos were looked at 5 times, by 2 runs" in output
    assert found(two)["looks"] == {"times": 5, "runs": 2}
    two("interpret", "run=strong", "neighbours=0", "channels=0")
    page = (two.folder / "strong/report.html").read_text()
    assert "These photos were looked at 5 times, by 2 runs" in page, "weak's training is unknown"
    lines = (two.folder / "strong" / FILE).read_text().splitlines()
    assert [json.loads(line)["command"] for line in lines] == [
        "train",
        "eval",
        "compare",
        "interpret",
    ]


@pytest.mark.core
def test_photos_that_a_run_was_trained_on_are_refused_and_counted(two: Pets) -> None:
    table = two.folder / "weak/photos.csv"
    rows = pd.read_csv(table)
    test = rows.index[rows.split == "test"]
    rows.loc[test[:5], "split"] = "train"
    rows.loc[test[5:8], "split"] = "valid"
    rows["path"] = [f"renamed/{i}.jpg" for i in range(len(rows))]  # known by content
    rows.to_csv(table, index=False)
    line = two.one_line("compare", "weak", "strong")
    assert line == (
        "5 of the 20 test photos are training photos (5 of old=weak); leave_out=true compares on "
        "the other 15, data.root=<folder> on photos from elsewhere"
    )
    assert not (two.folder / "outputs").exists() or not [*(two.folder / "outputs").iterdir()]
    assert len((two.folder / "weak" / FILE).read_text().splitlines()) == 1, "nobody looked"
    output = two("compare", "weak", "strong", "leave_out=true", "fail_on=never").stdout
    assert "Left out: 5 of the 20 test photos are training photos (5 of old=weak)." in output
    assert "3 of the photos are validation photos of the old run, by which" in output
    result = found(two)
    assert result["photos"] == 15
    assert result["data"]["moved"] == {"train -> test": 5, "valid -> test": 3}


def with_classes(run: Path, names: dict[str, str]) -> None:
    """Give the classes of a run's network other names."""
    file = run / "checkpoints/last.ckpt"
    content = torch.load(file, weights_only=True)
    content["pets"]["classes"] = [names.get(n, n) for n in content["pets"]["classes"]]
    torch.save(content, file)


@pytest.mark.core
def test_classes_that_differ_are_compared_where_they_are_common(two: Pets) -> None:
    classes = json.loads((two.folder / "strong/data.json").read_text())["classes"]
    with_classes(two.folder / "weak", {classes[0]: "zebra", classes[4]: "yak"})
    output = two("compare", "weak", "strong", "fail_on=never").stdout
    assert "Classes of the old run alone: zebra, yak." in output
    assert f"Classes of the new run alone: {classes[0]}, {classes[4]}." in output
    assert "choose among the 8 classes that they have in common; 4 photos of other" in output
    result = found(two)
    assert result["classes"] == [name for name in classes if name not in (classes[0], classes[4])]
    assert result["photos"] == sum(row["photos"] for row in result["per_class"].values()) == 16
    flipped = [row for way in result["flips"].values() for row in way]
    assert {row[word] for row in flipped for word in ("old", "new")} <= {*result["classes"]}

    with_classes(two.folder / "weak", {name: f"other {name}" for name in classes[1:]})
    line = two.one_line("compare", "weak", "strong")
    assert re.match(r"old=weak: of its classes \(.* and 7 more\) new=strong has none \(", line)
    assert line.endswith("expected two runs with at least two classes in common")


def test_leaving_a_test_photo_out_hides_no_look(two: Pets, drawn: Path) -> None:
    rows = pd.read_csv(two.folder / "strong/photos.csv").query("split == 'test'")
    for path, label in list(zip(map(str, rows.path), map(str, rows.label), strict=True))[1:]:
        folder = two.folder / "most" / label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn / path, folder)
    args = ["data.root=most", "data.label_from=folder"]
    for times, command in enumerate((["eval"], ["interpret", "neighbours=0", "channels=0"]), 2):
        output = two(*command, "run=strong", *args).stdout
        seen = "twice" if times == 2 else f"{times} times"
        assert "19 of these are test photos of strong, which were looked at " + seen in output
    output = two("compare", "weak", "strong", *args, "fail_on=never").stdout
    assert "19 of these are test photos of strong, which were looked at " in output


def test_other_photos_are_compared_by_their_folders(two: Pets, drawn: Path) -> None:
    rows = pd.read_csv(two.folder / "strong/photos.csv")
    test = rows[rows.split == "test"]
    for path, label in zip(map(str, test.path), map(str, test.label), strict=True):
        folder = two.folder / "others" / label
        folder.mkdir(parents=True, exist_ok=True)
        # Other bytes, the same picture.
        (folder / Path(path).name).write_bytes((drawn / path).read_bytes() + b"\0")
    (folder / "copy.jpg").write_bytes((drawn / path).read_bytes() + b"\0")
    args = ["data.root=others", "data.label_from=folder", "fail_on=never"]
    output = two("compare", "weak", "strong", *args).stdout
    assert "Copies left out: 1; each picture counts once." in output
    result = found(two)
    assert (result["split"], result["photos"]) == ("other", 20)
    expected = status(two.folder / "strong")["results"]["test"]["accuracy"]
    assert result["new_accuracy"] == pytest.approx(expected)
    assert "These photos were looked at twice, by 2 runs" in output
    seen = shutil.copytree(drawn, two.folder / "seen")
    line = two.one_line(
        "compare", "weak", "strong", f"data.root={seen}", "data.label_from=filename"
    )
    assert "60 of the 100 other photos are training photos (60 of old=weak, 60 of new=st" in line


def test_weights_of_a_third_run_are_named(two: Pets) -> None:
    """Nobody knows here which photos those were trained on; the other run's photos are checked."""
    for run, weights in (("weak", "strong/checkpoints/best.ckpt"), ("strong", "outputs/earlier")):
        config = two.folder / run / "config.yaml"
        text = config.read_text()
        assert text.count("weights: package") == 1
        config.write_text(text.replace("weights: package", f"weights: {weights}"))
    output = two("compare", "weak", "strong", "fail_on=never").stdout
    assert "The new run began with the weights in outputs/earlier: whether those were" in output
    assert "The old run began with" not in output


def test_what_is_no_finished_run_is_one_line(two: Pets) -> None:
    assert two.one_line("compare", "gone", "strong").startswith("old=gone: is not a run directory")
    state = status(two.folder / "strong") | {"state": "interrupted"}
    (two.folder / "strong/status.json").write_text(json.dumps(state))
    assert two.one_line("compare", "weak", "strong").startswith("new=strong: is not finished")
    assert two.one_line("compare", "weak") == "new is needed; give it as new=..."
    assert "got several of new=" in two("compare", "a", "b", "c", code=2).stderr


def test_a_run_from_elsewhere_calls_nothing(two: Pets) -> None:
    config = two.folder / "weak/config.yaml"
    text = config.read_text().replace("torch.optim.AdamW", "os.system")
    assert "os.system" in text
    config.write_text(text)
    assert "optimizer._target_=os.system: is not called" in two.one_line(
        "compare", "weak", "strong"
    )


def test_the_page_shows_each_flip_with_what_both_runs_saw(two: Pets) -> None:
    two("compare", "weak", "strong", "shown=2")
    (page_file,) = two.folder.glob("outputs/*_compare_*/compare.html")
    result = found(two)
    with opened(page_file) as page:
        assert page.inner_text("h1").replace("\u00a0", " ") == result["verdict"][0]
        cards = page.locator("#won .card")
        assert cards.count() == min(2, result["only_new"])
        assert cards.first.locator("img").count() == 3
        assert result["flips"]["won"][0]["path"] in cards.first.inner_text()
        drawn_on = page.evaluate(
            "[...document.querySelectorAll('canvas')].map((c) => c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data.some((v) => v > 0))"
        )
        assert drawn_on
        assert all(drawn_on)
        page.locator("#classes button", has_text="points").click()
        assert page.locator("#classes tbody tr").count() == 10
    with opened(page_file, width=390, scheme="dark", phone=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    text = page_file.with_name("compare.md").read_text()
    assert text.startswith("**")
    assert text.count("\n| images/") == result["only_new"] + result["only_old"]


def test_a_notebook_compares(two: Pets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two.folder)
    result = Learner("weak").compare("strong", FLOAT)
    assert isinstance(result, Comparison)
    assert result.paired.difference < 0
    assert (result.old.name, result.new.name) == ("strong", "weak")
    table = result.table
    assert len(table) == 20
    assert (table.flip == "lost").sum() == result.paired.only_old
    lost = result.flips("lost")
    assert (lost.old == lost.label).all()
    assert (lost.new != lost.label).all()
    figure = result.plot_flips("lost", 2)
    assert len(figure.axes[0].images) == 8, "two photos, each twice, each with its heat"
