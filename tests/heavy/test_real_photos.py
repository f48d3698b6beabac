"""The lesson on real photos: transfer that works, and a second stage that does not undo it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pets.interpretation import Interpretation
from tests.integration.browser import opened
from tests.integration.conftest import Pets

# A script run where pets cannot be imported.
WITHOUT_PETS = """
import runpy, sys
sys.modules["pets"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_lesson1_on_real_photos(tmp_path: Path, mini: Path) -> None:
    pets = Pets(tmp_path)
    output = pets(
        "train", "data=oxford_pets", f"data.root={mini}", "data.split=official",
        "model=efficientnet_lite0", "plan=lesson1", "lr_curves=true", "lr_finder.steps=60",
        "seed=0",
    ).stdout  # fmt: skip
    (run,) = pets.runs()
    assert "37 classes" in output
    results = json.loads((run / "status.json").read_text())["results"]
    assert results["test"]["photos"] == 119
    assert results["test"]["accuracy"] >= 0.8
    assert results["valid"]["accuracy"] >= 0.8
    errors = [
        float(row.split(",")[5]) for row in (run / "metrics.csv").read_text().splitlines()[1:]
    ]
    assert len(errors) == 6
    # The lesson's "it got worse" is what a moving batch norm or a wrong rate would show here.
    assert errors[5] <= errors[3] + 0.1

    # The finder's curves before each stage: a fall to learn on, then a trained network's flat line.
    head = json.loads((run / "lr_finder/head.json").read_text())["suggestions"]
    assert 8e-4 <= head["valley"] <= 4e-3
    assert 8e-4 <= head["minimum"] <= 2e-2
    body = json.loads((run / "lr_finder/body.json").read_text())
    assert 1e-5 <= body["suggestions"]["slide"] <= 1e-3
    assert body["ended"].startswith("the loss rose to 4 times its lowest")

    # The report on 37 breeds: said once, looked at in a browser.
    pets("interpret", f"run={run}")
    result = Interpretation.load(run / "interpret/test/predictions.parquet", "test")
    assert result.accuracy == pytest.approx(results["test"]["accuracy"])
    assert (run / "report.html").stat().st_size < 10e6
    with opened(run / "report.html") as page:
        text = page.inner_text("main")
        assert "None of the published numbers was measured on photos like these" in text
        assert "official test, 119 photos" in text
        assert page.locator(".matrix tbody tr").count() == 37
        actual, predicted, _ = result.most_confused()[0]
        page.get_by_role("button", name=f"of {actual} taken for {predicted}").click()
        assert page.locator("dialog#cell img").count() >= 1
        # Cats are taken for cats and dogs for dogs: breeds with a capital are cats.
        assert all(a[0].isupper() == p[0].isupper() for a, p, _ in result.most_confused())
    with opened(run / "report.html", width=390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390

    photo = mini / "images/Abyssinian_100.jpg"
    table = pets("predict", f"run={run}", f"source={photo}").stdout
    assert "Abyssinian" in table


def test_verify_finds_the_copies_among_real_photos(tmp_path: Path, mini: Path) -> None:
    """Two pairs are the same photo in two sizes, one of them across the official split; in a third
    pair one is cut a little."""
    pets = Pets(tmp_path)
    pets("verify", "data=oxford_pets", f"data.root={mini}", "data.split=official", code=3)
    (table,) = tmp_path.glob("outputs/*/verify.csv")
    rows = pd.read_csv(table)
    names = rows.path.map(lambda path: Path(str(path)).stem)
    out = set(
        zip(rows.kind[rows.proposed == "exclude"], names[rows.proposed == "exclude"], strict=True)
    )
    assert out == {
        ("near leak", "Abyssinian_63"),
        ("near duplicates", "Abyssinian_5"),
        ("near duplicates", "Bombay_11"),
    }
    assert set(names[rows.kind == "near duplicates"]) == {
        "Abyssinian_5", "Abyssinian_87", "Bombay_11", "Bombay_100",
    }  # fmt: skip
    assert set(rows.kind) == {"near leak", "near duplicates", "tiny class", "small", "grey"}


def test_exports_name_all_test_photos_alike(tmp_path: Path, mini: Path) -> None:
    pets = Pets(tmp_path)
    pets(
        "train", "data=oxford_pets", f"data.root={mini}", "data.split=official",
        "model=efficientnet_lite0", "model/head=batch_norm", "plan=frozen4", "precompute=true",
    )  # fmt: skip
    (run,) = pets.runs()
    pets("export", f"run={run}", "to=[safetensors,onnx,hub]", "out=exports")
    photos = pd.read_csv(run / "photos.csv").query("split == 'test'")
    files = [str(mini / path) for path in photos["path"]]
    (tmp_path / "test.txt").write_text("\n".join(files))
    pets("predict", f"run={run}", "source=test.txt", "out=own.csv")
    own = pd.read_csv(tmp_path / "own.csv")
    assert len(own) == 119
    for name in ("safetensors", "onnx", "hub"):
        args = [sys.executable, "-I", "-c", WITHOUT_PETS, f"exports/{name}/predict.py", *files]
        output = subprocess.run(args, cwd=tmp_path, check=True, capture_output=True, text=True)
        best = [line.split("  ")[1].rsplit(" ", 2)[0] for line in output.stdout.splitlines()]
        assert best == own["prediction"].to_list(), name
