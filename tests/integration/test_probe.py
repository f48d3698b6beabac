"""`pets race` and `pets curve` as typed: files, resuming, failures, mistakes in one line."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pets.notebook import Learner
from tests.fast.models.test_pooling import published
from tests.integration.conftest import FLOAT, Pets

SMALL = ("data.size=64", "data.batch_size=16", "data.num_workers=0", FLOAT, "cache_dir=cache")
LITE = "models=[efficientnet_lite0,efficientnet_lite1]"


def read(folder: Path, command: str) -> Any:
    return json.loads((folder / f"{command}.json").read_text())


def latest(pets: Pets, command: str) -> Path:
    """The folder of the last such command."""
    files = (pets.folder / "outputs").rglob(f"{command}.json")
    return max(files, key=lambda file: file.stat().st_mtime).parent


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Pets:
    """A folder in which Lite0 and Lite1 have raced, with the cache beside."""
    pets = Pets(tmp_path_factory.mktemp("raced"))
    output = pets("race", f"data.root={drawn}", LITE, *SMALL).stdout
    (pets.folder / "output").write_text(output)
    return pets


@pytest.mark.core
def test_a_race_writes_what_it_measured(raced: Pets, drawn: Path) -> None:
    folder, output = latest(raced, "race"), (raced.folder / "output").read_text()
    found = read(folder, "race")
    names = {"efficientnet_lite0", "efficientnet_lite1"}
    assert {one["name"] for one in found["entrants"]} == names
    with (folder / "race.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for one, row in zip(found["entrants"], rows, strict=True):
        assert len(one["wrong"]) == 20  # a fifth of 100 drawn photos
        assert float(row["error"]) == pytest.approx(sum(one["wrong"]) / 20)
        assert 0 < sum(one["wrong"]) < 14  # far from chance, 18 of 20
        assert one["speed"] > 1
        assert row["licence"] == "Apache-2.0"
        assert f"{one['name']}: " in found["verdict"][0] or one is not found["entrants"][0]
    # Weights in float32, without the original classifier: 3.4 and 4.1 million.
    sizes = {one["name"]: one["megabytes"] for one in found["entrants"]}
    assert sizes["efficientnet_lite0"] == pytest.approx(13.7, abs=0.1)
    assert sizes["efficientnet_lite1"] == pytest.approx(16.8, abs=0.1)
    assert (found["train"], found["classes"]) == (60, 10)
    for line in (*found["verdict"], *found["commands"]):
        assert line in output
    best = found["entrants"][0]["name"]
    assert found["commands"][0] == f"pets train data.root={drawn} model={best} data.size=64"
    page = (folder / "race.html").read_text()
    assert "Train it" in page
    assert found["verdict"][1] in page
    assert Image.open(folder / "race.png").width > 500


def test_a_backbone_that_has_raced_is_not_measured_again(raced: Pets, drawn: Path) -> None:
    before = {one["name"]: one for one in read(latest(raced, "race"), "race")["entrants"]}
    (raced.folder / "net").mkdir()
    published(raced.folder / "net")
    three = "models=[efficientnet_lite0,efficientnet_lite1,local-dir:net,local-dir:gone]"
    output = raced("race", f"data.root={drawn}", three, *SMALL).stdout
    assert output.count(": read from cache") == 2
    assert output.count("activations of 80 photos") == 1
    assert "left out: local-dir:gone: " in output
    found = read(latest(raced, "race"), "race")
    after = {one["name"]: one for one in found["entrants"]}
    assert {name: after[name] for name in before} == before
    assert after["local-dir:net"]["overrides"][:2] == ["model=timm", "model.name=local-dir:net"]
    assert list(found["failures"]) == ["local-dir:gone"]
    assert "Without a result: local-dir:gone." in found["verdict"]


def test_each_at_its_own_size_and_one_step_larger(raced: Pets, drawn: Path) -> None:
    """A transformer's position embeddings are fitted to the larger size."""
    (raced.folder / "vit").mkdir()
    published(raced.folder / "vit")
    raced("race", f"data.root={drawn}", "models=local-dir:vit", "larger=true", *SMALL[1:])
    found = read(latest(raced, "race"), "race")
    sizes = {tuple(one["size"]): one["overrides"][2:] for one in found["entrants"]}
    assert sizes[64, 64] == ["data.size=64", "model.args.img_size=64"]
    # 73.6 pixels are 4.6 patches of 16.
    assert sizes[80, 80] == ["data.size=80", "model.args.img_size=80"]
    assert found["verdict"][0].startswith("local-dir:vit at ")


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 130 photos: noise around two greys that overlap, so that more photos help."""
    root, rng = tmp_path_factory.mktemp("plenty") / "photos", np.random.default_rng(0)
    for name, grey in (("dark", 118), ("light", 138)):
        (root / name).mkdir(parents=True)
        for number in range(130):
            level = rng.normal(grey, 16)
            noise = rng.normal(level, 30, (64, 64, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(root / name / f"{number:03}.png")
    return root


def test_a_curve_of_two_classes(plenty: Path, pets: Pets) -> None:
    data = ("data=folder", f"data.root={plenty}", "data.valid_pct=0.4", *SMALL)
    output = pets("curve", *data, "seeds=3", "more=20").stdout
    found = read(latest(pets, "curve"), "curve")
    whole = found["whole"]
    assert (whole["train_photos"], whole["valid_photos"], whole["more"]) == (156, 104, 40)
    assert whole["photos"] == sorted(whole["photos"])
    assert whole["photos"][0] == 16  # a tenth of 78, of each class
    assert [one["class"] for one in found["classes"]] == ["dark", "light"]
    assert all(one["more"] == 20 for one in found["classes"])
    errors = [float(np.average([one["errors"][size] for one in found["classes"]]))
              for size in range(len(whole["errors"]))]  # fmt: skip
    assert errors == pytest.approx(whole["errors"])
    assert found["held_out"]["points"] == 6
    assert found["held_out"]["inside"] == sum(
        check["inside"] for one in (whole, *found["classes"]) for check in one["checks"]
    )
    for line in found["verdict"]:
        assert line in output
    folder = latest(pets, "curve")
    with (folder / "curve.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["", "dark", "light"]
    assert float(rows[0]["change_low"]) == pytest.approx(whole["change_low"])
    assert (folder / "curve.html").read_text().count("<img") == 1
    # The same command gives the same numbers, from the cached features.
    again = pets("curve", *data, "seeds=3", "more=20").stdout
    assert "read from cache" in again
    assert read(latest(pets, "curve"), "curve") == found


def test_on_the_photos_of_a_run(
    trained: Path, drawn: Path, pets: Pets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pets.folder)
    shutil.copytree(trained, "my run")
    learn, args = Learner("my run"), ("data.size=96", *SMALL[1:])
    result = learn.race(shlex.join(["models=efficientnet_lite0", *args]))
    table = result.table
    assert table.name.tolist() == ["efficientnet_lite0"]
    assert table.error[0] == result.race.best.error
    assert result.commands == [
        f"pets train data.root={drawn} model=efficientnet_lite0 data.size=96"
    ]
    assert read(Path("my run"), "race")["train"] == 60
    # They are the photos, in the splits, of the same data typed here: nothing is measured again.
    output = pets("race", f"data.root={drawn}", "models=efficientnet_lite0", *args).stdout
    assert "race of tf_efficientnet_lite0 (96 px) on 80 photos: read from cache" in output

    curve = learn.curve(shlex.join(["seeds=2", *args]))
    assert read(Path("my run"), "curve")["network"] == "tf_efficientnet_lite0"
    # Two validation photos of a class say nothing.
    assert curve.table.doubt[1:].tolist() == ["2 validation photos are too few"] * 10
    assert curve.table.valid_photos.tolist() == [20, *[2] * 10]
    assert len(curve.picture().axes) == 1  # no class has a law
    line = pets.one_line("race", "run='my run'", "data.valid_pct=0.3")
    assert line.startswith("data.valid_pct=0.3: with run= the run's own is used; of data only")
    line = pets.one_line("curve", "run='my run'", "model=resnet34")
    assert line.startswith("model=resnet34: with run= the run's own is used; of data and model")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["race", "models=efficientnet_lite9"], "models=efficientnet_lite9: no backbone of this"),
        (["race", "models=no*such"], "models=no*such: no backbone of this name"),
        (["race", "models=[]"], "models=[]: expected "),
        (["race", "larger=true", "data.size=64"], "larger=true has no effect with data.size=64"),
        (["race", "engine=fast"], "engine=fast: expected 'eager', 'folded'"),
        (["race", "trainer.limit_val_batches=3"], "trainer.limit_val_batches=3: is for pets train"),
        (["race", "run=nowhere"], "run=nowhere: is not a run directory (no such folder)"),
        (["curve", "run=3"], "run=3: is not a run directory (no such folder)"),
        (["race", "models=local-dir:gone"], "models: none could be used: local-dir:gone: "),
        (["race", "model=resnet34"], "model: no such config group"),
        (["curve", "data.cache=decoded"], "data.cache=decoded has no effect here: each photo is"),
        (["curve", "seeds=1"], "seeds=1: expected "),
        (["curve", "more=0"], "more=0: expected "),
    ],
)
def test_a_mistake_is_one_line(args: list[str], line: str, pets: Pets, drawn: Path) -> None:
    assert pets.one_line(*args, f"data.root={drawn}").startswith(line)


def few(root: Path, photos: int) -> str:
    """Three classes of so many photos."""
    for label in "abc":
        (root / label).mkdir(parents=True)
        for number in range(photos):
            colour = (number * 9, ord(label), 50)
            Image.new("RGB", (32, 32), colour).save(root / label / f"{number}.png")
    return f"data.root={root}"


def test_too_few_photos_are_one_line(pets: Pets, tmp_path: Path) -> None:
    data = ("data=folder", *SMALL)
    one = few(tmp_path / "one", 1)
    line = pets.one_line("race", *data, one, "models=efficientnet_lite0")
    assert "one" in line
    two = few(tmp_path / "two", 2)
    line = pets.one_line("race", *data, two, "data.valid_pct=0.5", "models=efficientnet_lite0")
    assert line.endswith(
        "fewer than two classes have two training photos; expected more photos, since the head is "
        "chosen by cross-validation"
    )
    four = few(tmp_path / "four", 4)
    line = pets.one_line("curve", *data, four)
    assert "training photos of 3 classes are too few for a curve" in line
