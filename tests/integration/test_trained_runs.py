"""What a trained run is used for: eval, predict, elsewhere."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.integration.conftest import Pets
from tests.integration.runs import status


@pytest.mark.core
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
    output = pets("eval", f"run={moved}", f"data.root={photos}", "trainer.precision=32-true").stdout
    result = json.loads((moved / "eval/test_last.json").read_text())
    expected = status(trained)["results"]["test"]
    assert {k: result[k] for k in expected} == expected
    assert f"accuracy               {100 * expected['accuracy']:.2f} %" in output

    pets("predict", f"run={moved}", f"source={photos / 'images'}", "out=p.parquet")
    frame = pd.read_parquet(pets.folder / "p.parquet").set_index("file")
    rows = pd.read_csv(trained / "photos.csv")
    test = rows[rows.split == "test"]
    names = [str(photos / path) for path in test.path]
    right = (frame.loc[names, "prediction"].to_numpy() == test.label.to_numpy()).mean()
    assert right == pytest.approx(expected["accuracy"])


@pytest.mark.core
def test_eval_says_when_the_photos_have_changed(trained: Path, pets: Pets, drawn: Path) -> None:
    photos = pets.folder / "photos"
    shutil.copytree(drawn, photos)
    victim = photos / pd.read_csv(trained / "photos.csv").path[0]
    victim.write_bytes(victim.read_bytes() + b"!")
    rows = pd.read_csv(trained / "photos.csv").set_index("path")
    name = victim.relative_to(photos).as_posix()
    split = rows.split[name]
    args = ["eval", f"run={trained}", f"data.root={photos}"]
    line = pets.one_line(*args, f"split={split}")
    assert f"{split} photos 1 changed ({name}); put" in line
    other = next(s for s in ("train", "valid", "test") if s != split)
    output = pets(*args, f"split={other}").stdout
    assert "of the run's 100 photos 1 changed" in output


@pytest.mark.core
def test_predict_reports_bad_files_and_goes_on(trained: Path, pets: Pets, drawn: Path) -> None:
    good = sorted((drawn / "images").glob("*.jpg"))[0]
    (pets.folder / "broken.jpg").write_bytes(good.read_bytes()[:500])
    (pets.folder / "list.txt").write_text(f"{good}\nbroken.jpg\nmissing.jpg\n")
    for suffix in ("csv", "json"):
        output = pets(
            "predict", f"run={trained}", "source=list.txt", f"out=p.{suffix}", code=3
        ).stdout
        assert "1 of 3 photos classified, written to p." in output
        assert "skipped: broken.jpg: cannot be read as an image" in output
        assert "skipped: missing.jpg: no such photo" in output
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


@pytest.mark.core
def test_predict_refuses_what_it_cannot_do(trained: Path, pets: Pets) -> None:
    (pets.folder / "empty").mkdir()
    for args, line in (
        (["source=nowhere"], "source=nowhere: no such photo, folder or list"),
        (["source=empty"], "source=empty: no images in this folder"),
        (["source=empty", "top=0"], "top=0: expected a number of at least 1"),
    ):
        assert pets.one_line("predict", f"run={trained}", *args) == line
    photo = trained / "photo.png"
    assert "run=" in pets.one_line("predict", f"source={photo}")
    assert "is not a run directory" in pets.one_line("predict", "run=.", f"source={photo}")


@pytest.mark.core
def test_a_tampered_checkpoint_is_refused(trained: Path, pets: Pets, drawn: Path) -> None:
    moved = pets.folder / "run"
    shutil.copytree(trained, moved)
    ckpt = moved / "checkpoints/last.ckpt"
    content = bytearray(ckpt.read_bytes())
    content[len(content) // 2] ^= 0xFF
    ckpt.write_bytes(content)
    assert "last.ckpt: damaged" in pets.one_line("eval", f"run={moved}")


@pytest.mark.parametrize("command", ["eval", "interpret"])
def test_other_photos_of_the_same_names_have_results_of_their_own(
    trained: Path, pets: Pets, drawn: Path, command: str
) -> None:
    """Cameras number from IMG_0001 again on every card: photos are the run's by what is in them."""
    run, tuesday = pets.folder / "run", pets.folder / "tuesday"
    shutil.copytree(trained, run)
    shutil.copytree(drawn, tuesday)
    for file in (tuesday / "images").glob("*.jpg"):
        with Image.open(file) as image:
            image.save(file, quality=60)
    args = [command, f"run={run}", *(["channels=0"] if command == "interpret" else [])]
    pets(*args)
    own = {file: file.read_bytes() for file in written(run)}
    assert own
    output = pets(*args, "data.root=tuesday").stdout
    assert "tuesday: has none of the run's photos; 100 files have their names" in output
    assert "All 100 photos count as photos from elsewhere" in output
    assert {file: file.read_bytes() for file in own} == own
    new = {file.relative_to(run).parts[1][:13] for file in written(run) - own.keys()}
    assert new == {"other_tuesday"}
    line = pets.one_line(*args, "data.root=tuesday", "split=test")
    assert line.startswith(
        "split=test: tuesday holds none of the run's photos, so it has no splits"
    )
    # Some of the run's photos among others: what to do is said, nothing is taken for all.
    rows = pd.read_csv(trained / "photos.csv")
    gone = rows[rows.split == "test"].path[2:]
    for path in set(rows.path) - set(gone):
        shutil.copy(drawn / path, tuesday / path)
    line = pets.one_line(*args, "data.root=tuesday")
    assert line.startswith("tuesday: of the run's 20 test photos 18 changed (")
    assert {file: file.read_bytes() for file in own} == own


def written(run: Path) -> set[Path]:
    """What pets eval and pets interpret have left."""
    files = {*(run / "eval").rglob("*"), *(run / "interpret").rglob("*"), run / "report.html"}
    return {file for file in files if file.is_file()}


def test_eval_takes_other_photos_by_folder_regex_and_table(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    rows = pd.read_csv(trained / "photos.csv")
    classes = json.loads((trained / "data.json").read_text())["classes"]
    chosen = rows[rows.label.isin(classes[:2])]
    table = []
    for number, (path, label) in enumerate(zip(chosen.path, chosen.label, strict=True)):
        for name in (f"folders/{label}/{number}.jpg", f"flat/{number}--{label}.jpg"):
            (pets.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(drawn / path, pets.folder / name)
        table.append({"photo": f"{number}--{label}.jpg", "kind": label})
    pd.DataFrame(table).to_csv(pets.folder / "labels.csv", index=False)
    (pets.folder / "folders" / classes[0] / "cut.jpg").write_bytes(b"no photo")
    (pets.folder / "folders/zebra").mkdir()
    shutil.copy(drawn / rows.path[0], pets.folder / "folders/zebra/1.jpg")
    run = pets.folder / "run"
    shutil.copytree(trained, run)
    for root, args in {
        "folders": ["data.label_from=folder"],
        "flat": ["data.label_regex='--(.+)[.]jpg'"],
        "flat/": ["data.table=labels.csv", "data.path_column=photo", "data.label_column=kind"],
    }.items():
        shutil.rmtree(run / "eval", ignore_errors=True)
        output = pets("eval", f"run={run}", f"data.root={root}", *args).stdout
        (file,) = (run / "eval").iterdir()
        assert file.name.startswith(f"other_{root.rstrip('/')}_")
        result = json.loads(file.read_text())
        assert (result["split"], result["photos"]) == ("other", len(chosen))
        assert {name for name, value in result["per_class"].items() if value is not None} == {
            *classes[:2]
        }
        seen = sum(chosen.split == "train")
        assert f"{seen} of the {len(chosen)} photos are the run's training photos" in output
        if root == "folders":
            assert "left out 1 photos of zebra, which the model does not know" in output
            assert "left out: folders" in output  # the one that cannot be read
    wrong = ["data.table=labels.csv", "data.label_from=folder"]
    line = pets.one_line("eval", f"run={run}", "data.root=flat", *wrong)
    assert line == (
        "data.table=labels.csv: has no effect with label_from=folder; set data.label_from=table"
    )
    line = pets.one_line("eval", f"run={run}", "data.label_from=folder")
    assert line.startswith("data.label_from=folder: has no effect on the run's own photos")


def test_predictions_of_two_folders_of_one_name_are_apart(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    photos = sorted((drawn / "images").glob("*.jpg"))
    for folder, chosen in (("monday", photos[:2]), ("tuesday", photos[2:4])):
        (pets.folder / folder / "photos").mkdir(parents=True)
        for number, photo in enumerate(chosen):
            shutil.copy(photo, pets.folder / folder / "photos" / f"IMG_{number}.jpg")
    run = pets.folder / "run"
    shutil.copytree(trained, run)
    pets("predict", f"run={run}", "source=monday/photos")
    (first,) = (run / "predictions").iterdir()
    before = first.read_bytes()
    pets("predict", f"run={run}", "source=tuesday/photos")
    pets("predict", f"run={run}", "source=monday/photos", "tta=2")
    assert first.read_bytes() == before
    assert len(list((run / "predictions").glob("photos_*.csv"))) == 3
    pets("predict", f"run={run}", "source=monday/photos")
    assert len(list((run / "predictions").glob("photos_*.csv"))) == 3
    # The same folder with other photos of the same names, as a camera's card has them.
    shutil.copy(photos[5], pets.folder / "monday/photos/IMG_0.jpg")
    pets("predict", f"run={run}", "source=monday/photos")
    assert len(list((run / "predictions").glob("photos_*.csv"))) == 4
    assert first.read_bytes() == before


def test_predict_says_what_it_leaves_out(trained: Path, pets: Pets, drawn: Path) -> None:
    (pets.folder / "phone").mkdir()
    photo = sorted((drawn / "images").glob("*.jpg"))[0]
    for name in ("a.jfif", "B.JPG", "c.jpe", "._c.jpg", "d.txt", "e", "f.txt"):
        shutil.copy(photo, pets.folder / "phone" / name)
    output = pets("predict", f"run={trained}", "source=phone", "out=p.csv").stdout
    assert "3 of 3 photos classified, written to p.csv" in output
    assert "left out: 1 no suffix, 2 .txt" in output
    shutil.make_archive(str(pets.folder / "phone"), "zip", pets.folder / "phone")
    output = pets("predict", f"run={trained}", "source=phone.zip", "out=z.csv").stdout
    assert "3 of 3 photos classified, written to z.csv" in output
    assert "left out: 1 no suffix, 2 .txt" in output
    for name in ("a.jfif", "B.JPG", "c.jpe"):
        (pets.folder / "phone" / name).unlink()
    line = pets.one_line("predict", f"run={trained}", "source=phone")
    assert line == ("source=phone: no images in this folder; left out: 1 no suffix, 2 .txt")
