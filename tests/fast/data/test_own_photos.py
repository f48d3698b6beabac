"""Which photos are a run's: those of the same bytes, wherever they lie, whatever their names."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pets.data.photos import SPLITS, Photo, Photos, locate_photos
from pets.errors import DataError, RunError
from pets.run_dir import RunDir
from pets.serving.examples import find_examples
from pets.training.checkpoints import Trained
from pets.training.evaluation import check_same_classes, photos_of_run, split_of
from pets.training.table import contents_of_test
from tests.fast.data.test_labels_and_splits import photo

ROWS = [(f"cat/{n}.jpg", "cat", SPLITS[n % 3]) for n in range(6)]
COLOURS = ("red", "green", "blue", "black", "white", "grey")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run's table, two photos in each split, and its photos in `photos`."""
    for (path, _, _), colour in zip(ROWS, COLOURS, strict=True):
        photo(tmp_path / "photos" / path, colour)
    photos = Photos(tmp_path / "photos", tuple(Photo(*row) for row in ROWS))
    (tmp_path / "run").mkdir()
    photos.save(tmp_path / "run/photos.csv")
    about = {"train": 2, "valid": 2, "test": 2, "fingerprint": photos.fingerprint}
    (tmp_path / "run/data.json").write_text(json.dumps(about))
    return RunDir(tmp_path / "run")


def found(run: RunDir, root: Path) -> tuple[list[str], list[str], list[str]]:
    table = Photos.load(run.path / "photos.csv", root)
    here = locate_photos(table)
    return (
        [row.path for row in here.photos.rows],
        [row.path for row in here.missing],
        [row.path for row in here.changed],
    )


def test_photos_are_identified_by_their_bytes(run: RunDir, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    paths = [row[0] for row in ROWS]
    assert found(run, root) == (paths, [], [])
    (root / "cat/0.jpg").rename(root / "other name.JPG")
    photo(root / "cat/1.jpg", "pink")
    (root / "cat/2.jpg").unlink()
    assert found(run, root) == (["other name.JPG", *paths[3:]], ["cat/2.jpg"], ["cat/1.jpg"])
    # One folder too deep or too high they are the same photos.
    assert found(run, root / "cat")[0] == ["3.jpg", "4.jpg", "5.jpg"]
    assert found(run, tmp_path)[0][0] == "photos/other name.JPG"
    assert found(run, tmp_path / "nowhere") == ([], paths, [])


def test_other_photos_with_the_same_names_do_not_match(run: RunDir, tmp_path: Path) -> None:
    for path, _, _ in ROWS:
        photo(tmp_path / "tuesday" / path, "yellow")
    paths = [row[0] for row in ROWS]
    assert found(run, tmp_path / "tuesday") == ([], [], paths)


def test_a_needed_split_must_be_complete(
    run: RunDir, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "photos"
    (root / "cat/0.jpg").unlink()
    photo(root / "cat/3.jpg", "pink")
    photos = photos_of_run(run, str(root), "test", "valid")
    assert [len(photos.of(split)) for split in SPLITS] == [0, 2, 2]
    assert photos.classes == ["cat"]
    lost = "of the run's 6 photos 1 missing (cat/0.jpg) and 1 changed (cat/3.jpg)"
    assert f"{root}: {lost}; they are left out" in caplog.text
    with pytest.raises(DataError) as error:
        photos_of_run(run, str(root), "train")
    assert str(error.value).startswith(
        f"{root}: of the run's 2 train photos 1 missing (cat/0.jpg) and 1 changed (cat/3.jpg); put "
        "them back, or say where they are now with data.root=<folder>"
    )
    assert f"data.root={root} data.label_from=" in str(error.value)
    with pytest.raises(DataError, match="of the run's 6 photos 6 missing"):
        photos_of_run(run, str(tmp_path / "run"))


def test_the_split_is_that_of_the_run(run: RunDir) -> None:
    assert split_of(run, "auto") == "test"
    (run.path / "data.json").write_text('{"train": 2, "valid": 2, "test": 0}')
    assert split_of(run, "auto") == "valid"
    with pytest.raises(RunError, match=r"split=test: .*it has 2 train, 2 valid, 0 test"):
        split_of(run, "test")


@pytest.mark.parametrize(
    "path",
    ["../secret.jpg", "cat/../../secret.jpg", "{tmp}/secret.jpg", "/etc/passwd", "a\0b.jpg"],
)
def test_a_table_names_no_file_outside_its_root(run: RunDir, tmp_path: Path, path: str) -> None:
    photo(tmp_path / "secret.jpg", "purple")
    path = path.format(tmp=tmp_path)
    table = run.path / "photos.csv"
    table.write_text(f"{table.read_text()}{path},cat,valid,00\n")
    with pytest.raises(DataError, match="1 files that are not below the photos' root"):
        Photos.load(table, tmp_path / "photos")
    assert find_examples(run, str(tmp_path / "photos"), 6) == []
    row = Photo(path, "cat", "train")
    with pytest.raises(DataError, match="1 files that are not below the photos' root"):
        Photos(tmp_path / "photos", (row,)).save(tmp_path / "new.csv")


@pytest.mark.parametrize("content", ["", "0" * 32])
def test_photos_unknown_to_the_run_are_not_examples(
    run: RunDir, tmp_path: Path, content: str
) -> None:
    """Neither through a link, nor by a root that a stranger has written into the config."""
    assert len(find_examples(run, str(tmp_path / "photos"), 6)) == 2
    photo(tmp_path / "private/secret.jpg", "purple")
    shutil.copy(run.path / "photos.csv", tmp_path / "before.csv")
    (run.path / "data.json").write_text('{"train": 2, "valid": 3, "test": 2}')
    (tmp_path / "photos/link.jpg").symlink_to(tmp_path / "private/secret.jpg")
    for name, root in (("link.jpg", "photos"), ("secret.jpg", "private")):
        table = (tmp_path / "before.csv").read_text() + f"{name},cat,valid,{content}\n"
        (run.path / "photos.csv").write_text(table)
        examples = find_examples(run, str(tmp_path / root), 6)
        assert len(examples) == (2 if content and root == "photos" else 0)
        assert name not in [example.file.name for example in examples]
    (run.path / "photos.csv").write_text("path,label,split\nsecret.jpg,cat,valid\n")
    assert find_examples(run, str(tmp_path / "private"), 6) == []


@pytest.mark.parametrize(
    "rows",
    ["cat/0.jpg,,valid,1", ",cat,valid,1", "cat/0.jpg,cat,holdout,1", "cat/0.jpg,cat,valid,"],
)
def test_a_damaged_table_is_reported(run: RunDir, tmp_path: Path, rows: str) -> None:
    (run.path / "photos.csv").write_text(f"path,label,split,content\n{rows}\n")
    with pytest.raises(DataError, match="damaged, a row without path, label, split or content"):
        Photos.load(run.path / "photos.csv", tmp_path)


def test_a_table_that_was_cut_off_is_reported(run: RunDir, tmp_path: Path) -> None:
    table = run.path / "photos.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunError) as error:
        photos_of_run(run, str(tmp_path / "photos"), "test")
    assert str(error.value) == (
        f"{table}: names 5 photos, though data.json counts 6; one of the two was changed, take "
        "both from a copy of the run"
    )
    with pytest.raises(RunError, match=r"names 5 photos, though data\.json counts 6"):
        contents_of_test(run)
    assert find_examples(run, str(tmp_path / "photos"), 6) == []


def test_labels_that_the_model_does_not_know_are_reported(run: RunDir, tmp_path: Path) -> None:
    model: Any = SimpleNamespace(classes=["cat"])
    config: Any = None
    trained = Trained(run, config, model, "head")
    check_same_classes(trained, photos_of_run(run, str(tmp_path / "photos")))
    table = run.path / "photos.csv"
    table.write_text(table.read_text().replace("0.jpg,cat", "0.jpg,unicorn"))
    with pytest.raises(RunError, match=r"its classes \(cat, unicorn\) are not the model's \(cat\)"):
        check_same_classes(trained, photos_of_run(run, str(tmp_path / "photos")))
