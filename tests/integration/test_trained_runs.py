"""What a trained run is used for: eval, predict, elsewhere."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.conftest import Pets
from tests.integration.runs import status


def test_a_moved_run_is_evaluated_and_predicts_as_before(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    moved = pets.folder / "elsewhere"
    shutil.copytree(trained, moved)
    photos = pets.folder / "photos"
    shutil.copytree(drawn, photos)
    # The folder that the config names is gone on the new machine.
    config = (moved / "config.yaml").read_text().replace(str(drawn), "/gone")
    (moved / "config.yaml").write_text(config)
    assert "data.root=" in pets.one_line("eval", f"run={moved}")
    said = pets("eval", f"run={moved}", f"data.root={photos}").stdout
    found = json.loads((moved / "eval/test_last.json").read_text())
    expected = status(trained)["results"]["test"]
    assert {k: found[k] for k in expected} == expected
    assert f"accuracy               {100 * expected['accuracy']:.2f} %" in said

    pets("predict", f"run={moved}", f"source={photos / 'images'}", "out=p.parquet")
    frame = pd.read_parquet(pets.folder / "p.parquet").set_index("file")
    rows = pd.read_csv(trained / "photos.csv")
    test = rows[rows.split == "test"]
    names = [str(photos / path) for path in test.path]
    right = (frame.loc[names, "prediction"].to_numpy() == test.label.to_numpy()).mean()
    assert right == pytest.approx(expected["accuracy"])


def test_eval_says_when_the_photos_have_changed(trained: Path, pets: Pets, drawn: Path) -> None:
    photos = pets.folder / "photos"
    shutil.copytree(drawn, photos)
    victim = photos / pd.read_csv(trained / "photos.csv").path[0]
    victim.write_bytes(victim.read_bytes() + b"!")
    line = pets.one_line("eval", f"run={trained}", f"data.root={photos}", "split=train")


def test_predict_reports_bad_files_and_goes_on(trained: Path, pets: Pets, drawn: Path) -> None:
    good = sorted((drawn / "images").glob("*.jpg"))[0]
    (pets.folder / "broken.jpg").write_bytes(good.read_bytes()[:500])
    (pets.folder / "list.txt").write_text(f"{good}\nbroken.jpg\nmissing.jpg\n")
    for suffix in ("csv", "json"):
        said = pets(
            "predict", f"run={trained}", "source=list.txt", f"out=p.{suffix}", code=3
        ).stdout
        assert "1 of 3 photos named, written to p." in said
        assert "skipped: broken.jpg: cannot be read as an image" in said
        assert "skipped: missing.jpg: no such photo" in said
    table = pd.read_csv(pets.folder / "p.csv")
    classes = json.loads((trained / "data.json").read_text())["classes"]
    assert list(table) == ["file", "prediction", "probability", *classes, "error"]
    assert table.loc[0, classes].sum() == pytest.approx(1, abs=1e-6)
    assert table.loc[0, "prediction"] == table.loc[0, classes].astype(float).idxmax()
    assert table.prediction.isna().tolist() == [False, True, True]
    objects = json.loads((pets.folder / "p.json").read_text())
    assert [o["prediction"] for o in objects] == [table.prediction[0], None, None]
    assert "none of the files could be read" in pets(
        "predict", f"run={trained}", "source=broken.jpg", "out=q.csv", code=1
    ).stderr  # fmt: skip
    why = pd.read_csv(pets.folder / "q.csv").error.to_list()
    assert why == ["broken.jpg: cannot be read as an image (Truncated File Read)"]


def test_predict_refuses_what_it_cannot_do(trained: Path, pets: Pets) -> None:
    (pets.folder / "empty").mkdir()
    for words, line in (
        (["source=nowhere"], "source=nowhere: no such photo, folder or list"),
        (["source=empty"], "source=empty: no images in this folder"),
        (["source=empty", "top=0"], "top=0: expected a number of at least 1"),
    ):
        assert pets.one_line("predict", f"run={trained}", *words) == line
    photo = trained / "photo.png"
    assert "run=" in pets.one_line("predict", f"source={photo}")
    assert "is no run directory" in pets.one_line("predict", "run=.", f"source={photo}")


def test_a_tampered_checkpoint_is_refused(trained: Path, pets: Pets, drawn: Path) -> None:
    moved = pets.folder / "run"
    shutil.copytree(trained, moved)
    ckpt = moved / "checkpoints/last.ckpt"
    content = bytearray(ckpt.read_bytes())
    content[len(content) // 2] ^= 0xFF
    ckpt.write_bytes(content)
    assert "last.ckpt: damaged" in pets.one_line("eval", f"run={moved}")
