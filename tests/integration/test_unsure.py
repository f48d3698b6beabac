"""`unsure=auto` from a trained run to its table, exports and server: one rule everywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pets.training.looks import FILE
from tests.integration.browser import opened
from tests.integration.conftest import Pets
from tests.integration.serving import served

RULE = ("unsure=auto", "coverage=0.9", "false_alarms=0.1")
JUDGE = """
import json, sys
sys.modules["pets"] = None
sys.path.insert(0, ".")
from PIL import Image
from predict import Classifier
classifier = Classifier(".")
print(json.dumps(classifier.judge([Image.open(file) for file in sys.argv[1:]])))
"""


@pytest.fixture(scope="module")
def run(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, so that what is kept in it is this module's."""
    return Path(shutil.copytree(trained, tmp_path_factory.mktemp("unsure") / "run"))


@pytest.fixture(scope="module")
def photos(run: Path, drawn: Path) -> list[Path]:
    table = pd.read_csv(run / "photos.csv")
    return [drawn / path for path in table[table.split == "test"].path]


@pytest.fixture(scope="module")
def table(
    run: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What `pets predict` says of the test photos, by file, beside its output."""
    pets = Pets(tmp_path_factory.mktemp("predicted"))
    (pets.folder / "list.txt").write_text("".join(f"{file}\n" for file in photos))
    args = ("predict", f"run={run}", "source=list.txt", "out=p.json", *RULE)
    first = pets(*args).stdout
    assert "100 photos pass through the network, once" in first
    kept = run / "unsure/last.safetensors"
    before = kept.read_bytes()
    again = pets(*args).stdout
    assert "pass through" not in again
    assert kept.read_bytes() == before
    rows = json.loads((pets.folder / "p.json").read_text())
    return {row["file"]: row for row in rows} | {"": {"said": first}}


def commands_of_looks(run: Path) -> list[str]:
    return [json.loads(line)["command"] for line in (run / FILE).read_text().splitlines()]


def judged(row: dict[str, Any]) -> tuple[set[str], bool, bool, str | None]:
    return set(row["set"]), row["unsure"], row["none_of_these"] >= 1, row["superclass"]


@pytest.mark.core
def test_the_table_has_the_sets_and_the_log_what_they_reach(
    run: Path, table: dict[str, dict[str, Any]], photos: list[Path], drawn: Path
) -> None:
    labels = {str(file): file.stem.rsplit("_", 1)[0] for file in photos}
    covered = alarms = 0
    for file, label in labels.items():
        row = table[file]
        assert row["set"][0] == row["prediction"]
        assert row["size"] == len(row["set"])
        shares = [row[name] for name in row["set"]]
        assert shares == sorted(shares, reverse=True)
        assert row["unsure"] == (row["size"] > 1 or row["none_of_these"] >= 1)
        groups = {"cat" if name[0].isupper() else "dog" for name in row["set"]}
        assert row["superclass"] == (groups.pop() if len(groups) == 1 else None)
        covered += label in row["set"]
        alarms += row["none_of_these"] >= 1
    said = table[""]["said"]
    line = re.search(r"sets: promised 90 %, reached ([\d.]+) % of 20 test photos; .*", said)
    assert line is not None, said
    assert float(line[1]) == pytest.approx(5 * covered)
    assert "one threshold for all classes" in line[0]
    assert f"none of these: promised at most 10 %, {5 * alarms:.1f} % of the test photos" in line[0]
    assert re.search(r"these test photos were looked at .*, by \d+ run", said)
    assert commands_of_looks(run).count("unsure") == 1, "measured once, shown twice"
    groups = json.loads((run / "data.json").read_text())["superclasses"]
    assert groups["Tabby_Marmalade"] == "cat"
    assert groups["snow_sled_dog"] == "dog"


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("noise")
    files = [folder / f"{number}.png" for number in range(5)]
    for file in files:
        Image.fromarray(random.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(file)
    return files


@pytest.mark.core
def test_noise_is_none_of_these(run: Path, noise: list[Path], pets: Pets) -> None:
    said = pets("predict", f"run={run}", f"source={noise[0].parent}", "out=n.csv", *RULE).stdout
    rows = pd.read_csv(pets.folder / "n.csv")
    assert (rows.none_of_these > 1.5).all()
    assert rows.unsure.all()
    assert said.count("none of these\n") == 5
    assert rows["set"].str.split("|").str.len().tolist() == rows["size"].tolist()


@pytest.mark.core
def test_exports_give_the_sets_of_the_run(
    run: Path, table: dict[str, dict[str, Any]], photos: list[Path], pets: Pets
) -> None:
    args = ("to=[safetensors,onnx]", "out=.", "data.num_workers=0", *RULE)
    said = pets("export", f"run={run}", *args).stdout
    assert said.count("sets: the run's for 20 of 20 pictures; promised 90 %, reached") == 2
    assert commands_of_looks(run)[-1] == "export", "the sets are measured on the test photos"
    for name in ("safetensors", "onnx"):
        folder = pets.folder / name
        command = [sys.executable, "-I", "-B", "-c", JUDGE, *map(str, photos)]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        theirs = json.loads(result.stdout)
        same = [
            judged(a) == judged(table[str(file)]) for a, file in zip(theirs, photos, strict=True)
        ]
        # Pillow shrinks photos otherwise than torch.
        assert sum(same) >= (20 if name == "safetensors" else 16), same
        check = json.loads((folder / "check.json").read_text())["unsure"]
        assert (check["promised"], check["photos"], check["on_test"]) == (0.9, 20, True)
        assert check["same_files"] == sum(same)
        card = (folder / "README.md").read_text()
        assert f"| sets with the right class | 90.0 % | {5 * check['covered']:.1f} %" in card
        numbers = json.loads((folder / "unsure.json").read_text())
        assert numbers["reached"]["photos"] == 20
        assert len(numbers["rule"]["least"]) == 10
    script = [sys.executable, "-I", str(pets.folder / "safetensors/predict.py"), str(photos[0])]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert len(printed.strip().split("  ")) == 4 + table[str(photos[0])]["unsure"]


@pytest.mark.core
def test_the_server_says_what_the_table_says(
    run: Path, table: dict[str, dict[str, Any]], photos: list[Path], pets: Pets
) -> None:
    with served(run, pets.folder, "examples=0", *RULE) as server:
        info = server.client.get("/api/info").json()
        assert info["unsure"]["coverage"] == 0.9
        for file in photos[:6]:
            files = {"file": file.read_bytes()}
            (answer,) = server.client.post("/api/predict", files=files).json()["results"]
            row = table[str(file)]
            assert judged(answer["judged"]) == judged(row)
            assert answer["judged"]["none_of_these"] == pytest.approx(
                row["none_of_these"], rel=1e-3
            )
            if row["unsure"]:
                assert not answer["sure"]


def test_the_page_says_what_is_promised(
    run: Path, table: dict[str, dict[str, Any]], photos: list[Path], noise: list[Path], pets: Pets
) -> None:
    chosen = [*photos[:12], noise[0]]
    with (
        served(run, pets.folder, "examples=0", "threshold=0", *RULE) as server,
        opened(server.url) as page,
    ):
        page.locator("#pick").set_input_files(chosen)
        titles = page.locator(".result:not(.waiting) h3")
        page.wait_for_function(
            "count => document.querySelectorAll('.result:not(.waiting)').length == count",
            arg=len(chosen),
        )
        said = titles.all_inner_texts()
        notes = [note.inner_text() for note in page.locator(".result .note").all()]
    assert said[-1].startswith("None of these? If one, ")
    assert notes[-1] == (
        "It looks unlike the photos of all classes, as at most 10\u00a0% of these do."
    )
    several = 0
    for file, title, note in zip(photos, said[:-1], notes, strict=False):
        row, name = table[str(file)], table[str(file)]["prediction"].replace("_", " ")
        if row["none_of_these"] >= 1:
            assert title == f"None of these? If one, {name}"
        elif row["size"] == 1:
            assert (title, note) == (name, "")
        else:
            several += 1
            which = f" which {row['superclass']}" if row["superclass"] else ""
            assert title == f"Not sure{which}: perhaps {name}"
            assert note.startswith(f"May be {name} or ")
            assert note.endswith("the right class for 90\u00a0% of photos like the model's own.")
    assert several


def test_the_report_reaches_what_the_table_reaches(
    run: Path, photos: list[Path], pets: Pets
) -> None:
    pets("interpret", f"run={run}", "split=test")
    sets = json.loads((run / "interpret/test/summary.json").read_text())["sets"]
    assert (sets["promised"], sets["photos"], sets["calibrated"]) == (0.95, 20, 20)
    said = pets("predict", f"run={run}", f"source={photos[0]}", "out=p.csv", "unsure=auto").stdout
    line = f"promised 95 %, reached {100 * sets['coverage']:.1f} % of 20 test photos; "
    assert f"{line}{sets['size']:.2f} classes on average" in said
    page = (run / "report.html").read_text()
    assert "Sets of classes with a promise" in page
    assert f"{100 * sets['coverage']:.1f} % of 20 photos" in page.replace("\u00a0", " ")


def test_mistakes_are_one_line(run: Path, pets: Pets, drawn: Path) -> None:
    source = f"source={drawn}/images"
    predict = ("predict", f"run={run}", source)
    assert pets.one_line(*predict, "coverage=0.9") == (
        "coverage=0.9 has no effect without unsure=auto"
    )
    assert pets.one_line(*predict, "unsure=auto", "tta=2") == (
        "tta=2 with unsure=auto: the sets are promised for the probabilities of tta=1; leave tta "
        "out, or unsure"
    )
    fresh = Path(shutil.copytree(run, pets.folder / "fresh", ignore=lambda *_: ["unsure"]))
    few = pets.one_line("predict", f"run={fresh}", source, "unsure=auto", "coverage=0.99")
    assert few.endswith(
        "the run has 20 validation photos, which can promise at most 0.952; expected a lower one, "
        "or a run with 99 validation photos or more (data.valid_pct)"
    )
    assert "unsure" not in [entry.name for entry in fresh.iterdir()]  # before any photo is read
    hub = pets.one_line("export", f"run={run}", "to=[onnx,hub]", "unsure=auto")
    assert hub.startswith("unsure=auto with to=onnx,hub: timm's layout has no place for it")
    bare = pets.folder / "bare"
    shutil.copytree(run, bare)
    counts = json.loads((bare / "data.json").read_text())
    (bare / "data.json").write_text(json.dumps(counts | {"valid": 0}))
    line = pets.one_line("predict", f"run={bare}", source, "unsure=auto")
    assert line.startswith(f"unsure=auto: {bare} has no validation photos, which a promise")
    gone = pets.one_line(
        "predict", f"run={bare}", source, "unsure=auto", f"data.root={pets.folder}"
    )
    assert gone == line


def test_photos_that_are_gone_are_one_line(trained: Path, pets: Pets, drawn: Path) -> None:
    run = Path(shutil.copytree(trained, pets.folder / "run"))
    (pets.folder / "empty").mkdir()
    args = ("predict", f"run={run}", f"source={drawn}/images", "unsure=auto", "data.root=empty")
    line = pets.one_line(*args)
    assert line.startswith("empty: of the run's ")
    assert "data.root=<folder>" in line
    assert not (run / "unsure").exists()


def test_a_label_that_the_model_does_not_know_is_one_line(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    run = pets.folder / "run"
    shutil.copytree(trained, run, ignore=lambda *_: ["unsure"])
    rows = pd.read_csv(run / "photos.csv")
    rows.loc[0, "label"] = "unicorn"
    rows.to_csv(run / "photos.csv", index=False)
    line = pets.one_line("predict", f"run={run}", f"source={drawn}/images", "unsure=auto")
    assert line.startswith(f"{run}/photos.csv: its classes (")
    assert "unicorn" not in line.partition("are not the model's")[2]
