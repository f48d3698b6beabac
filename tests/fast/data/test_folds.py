"""K-fold splits, and photos whose groups stay together."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from pets.config import DataConfig
from pets.data.collect import collect_photos
from pets.data.folds import _folds
from pets.errors import ConfigError, DataError
from tests.conftest import train_config

KFOLD = ("data.split=kfold", "data.folds=5")
ANIMALS = 10  # of each breed, with 2 or 4 photos


def config(root: Path, *more: str, kind: str = "oxford_pets") -> DataConfig:
    return train_config(f"data={kind}", f"data.root={root}", *more).data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two breeds of 30 photos: `Sphynx_103.jpg` is photo 3 of animal 1; a table has the animals."""
    root = tmp_path_factory.mktemp("animals")
    (root / "images").mkdir()
    rows = []
    for breed in ("Sphynx", "pug"):
        for animal in range(ANIMALS):
            for n in range(2 + 2 * (animal % 2)):
                name = f"{breed}_{animal}0{n}.jpg"
                colour = (25 * animal, 100 * (breed == "pug"), 50 * n)
                Image.new("RGB", (8, 6), colour).save(root / "images" / name)
                rows.append({"path": name, "label": breed, "animal": f"{breed} {animal}"})
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


def splits(data: DataConfig) -> dict[str, str]:
    return {photo.path: photo.split for photo in collect_photos(data).rows}


def animal(path: str) -> str:
    return path[: -len("00.jpg")]


def test_each_photo_is_in_one_of_the_folds_with_as_many_of_each_label(root: Path) -> None:
    held_out: list[str] = []
    for fold in range(5):
        found = splits(config(root, *KFOLD, f"data.fold={fold}"))
        assert found == splits(config(root, *KFOLD, f"data.fold={fold}")), "the same every time"
        valid = [path for path, split in found.items() if split == "valid"]
        assert Counter("pug" in path for path in valid) == {True: 6, False: 6}
        assert Counter(found.values()) == {"train": 48, "valid": 12}
        held_out += valid
    assert len(set(held_out)) == len(held_out) == 60
    other = splits(config(root, *KFOLD, "data.fold=0", "data.split_seed=1"))
    assert other != splits(config(root, *KFOLD, "data.fold=0"))


def test_the_test_photos_are_the_same_for_all_folds(root: Path) -> None:
    folds = [splits(config(root, *KFOLD, f"data.fold={n}", "data.test_pct=0.2")) for n in range(5)]
    tests = [{path for path, split in found.items() if split == "test"} for found in folds]
    assert len(tests[0]) == 12
    assert all(test == tests[0] for test in tests)
    random = splits(config(root, "data.test_pct=0.2"))
    assert tests[0] == {path for path, split in random.items() if split == "test"}
    valid = [path for found in folds for path, split in found.items() if split == "valid"]
    assert len(set(valid)) == len(valid) == 48


@pytest.mark.parametrize(
    "grouped", ["data.group_column=animal", r"data.group_regex='images/(.+_\d)0\d\.jpg'"]
)
def test_an_animal_is_in_one_split_only(
    root: Path, grouped: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kind = "table" if "column" in grouped else "oxford_pets"
    held_out: list[str] = []
    ways = [(*KFOLD, f"data.fold={n}") for n in range(5)]
    for way in (*ways, ("data.split=random", "data.test_pct=0.1")):
        found = splits(config(root, *way, grouped, kind=kind))
        animals = {(animal(path), split) for path, split in found.items()}
        assert len(animals) == 2 * ANIMALS, "no animal is in two splits"
        counts = Counter((split, "pug" in path) for path, split in found.items())
        if way in ways:
            held_out += [path for path, split in found.items() if split == "valid"]
            assert [counts["valid", pug] for pug in (True, False)] == [6, 6]
        else:
            for pug in (True, False):
                assert counts["test", pug] == pytest.approx(3, abs=1)
                assert counts["valid", pug] == pytest.approx(6, abs=2)
    assert len(set(held_out)) == len(held_out) == 60
    line = f": {2 * ANIMALS} groups of 60 photos, the largest of 4"
    assert line in caplog.text


def test_photos_that_look_alike_are_in_one_split_only(drawn: Path, tmp_path: Path) -> None:
    """Four breeds of six drawn pets, each with a brighter, smaller and a mirrored copy."""
    (tmp_path / "images").mkdir()
    for file in sorted((drawn / "images").glob("*.jpg"))[:40]:
        breed, _, number = file.stem.rpartition("_")
        if int(number) > 6:
            continue
        photo = Image.open(file)
        copies = (
            photo,
            ImageEnhance.Brightness(photo).enhance(1.3).resize((80, 80)),
            photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        )
        for n, copy in enumerate(copies):
            copy.save(tmp_path / f"images/{breed}_{number}0{n}.jpg", quality=90)
    copied = splits(config(tmp_path, "data.valid_pct=0.34"))
    assert len({(animal(p), s) for p, s in copied.items()}) > 24, "without groups copies leak"
    found = splits(config(tmp_path, "data.group_near=32", "data.valid_pct=0.34"))
    assert len(found) == 72
    assert len({(animal(path), split) for path, split in found.items()}) == 24
    assert Counter(found.values())["valid"] == pytest.approx(24, abs=3)


def test_shares_are_held_out_as_whole_groups() -> None:
    labels = {f"{n}": "ab"[n % 2] for n in range(400)}
    groups = {path: f"{int(path) // 4}" for path in labels}
    (first, *_), counts = _folds(labels, groups, 20, 0), Counter[str]()
    assert len(first) == 20
    for fold in _folds(labels, groups, 20, 0):
        counts.update(groups[path] for path in fold)
    assert set(counts.values()) == {4}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            ["data.split=kfold"],
            "data: split=kfold needs folds and fold, as in data.folds=5 data.fold=0",
        ),
        (["data.folds=5"], "data: folds has no effect with split=random; set data.split=kfold or"),
        ([*KFOLD, "data.fold=5"], "data: fold=5: with folds=5 expected 0 to 4"),
        ([*KFOLD, "data.fold=-1"], "data.fold=-1: expected a whole number from 0 to data.folds"),
        (["data.folds=1"], "data.folds=1: expected a whole number of at least 2, or null"),
        (["data.group_near=64"], "data.group_near=64: expected bits from 0 to 48, or null"),
        (
            ["data.group_column=a"],
            "data: group_column is a column of data.table; set data.label_fr",
        ),
        (
            ["data.group_near=4", "data.group_regex='(.)'"],
            "data: group_regex and group_near both gr",
        ),
        (
            ["data.group_near=4", "data.split=official"],
            "data: group_near has no effect with split=official, which has its own splits",
        ),
    ],
)
def test_contradicting_keys_are_one_line(root: Path, more: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(root, *more)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "more", "line"),
    [
        (
            "oxford_pets",
            ["data.split=kfold", "data.folds=31", "data.fold=0"],
            "data.folds=31: label Sphynx has only 30 photos (images/Sphynx_000.jpg, ",
        ),
        (
            "oxford_pets",
            ["data.split=kfold", "data.folds=21", "data.fold=0", r"data.group_regex='(\w+_\d)0'"],
            "data.folds=21: there are only 20 groups of photos; expected fewer folds",
        ),
        (
            "oxford_pets",
            [r"data.group_regex='images/(\w+)_'"],
            "label Sphynx: all its 30 photos (images/Sphynx_000.jpg, ",
        ),
        (
            "oxford_pets",
            [r"data.group_regex='(pug_\d)'"],
            r"data.group_regex=(pug_\d): does not match 30 photos: images/Sphynx_000.jpg, ",
        ),
        (
            "table",
            ["data.group_column=cage"],
            "labels.csv: has no column cage; its first line names path, label, animal",
        ),
    ],
)
def test_what_the_photos_do_not_allow_is_one_line(
    root: Path, kind: str, more: list[str], line: str
) -> None:
    with pytest.raises(DataError) as error:
        collect_photos(config(root, *more, kind=kind))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_cell_is_one_line(root: Path, tmp_path: Path) -> None:
    table = pd.read_csv(root / "labels.csv")
    table.loc[3, "animal"] = ""
    table.to_csv(tmp_path / "gaps.csv", index=False)
    data = config(
        root, "data.group_column=animal", f"data.table={tmp_path / 'gaps.csv'}", kind="table"
    )
    with pytest.raises(
        DataError, match=r"=animal: has an empty cell for 1 photos: images/Sphynx_1"
    ):
        collect_photos(data)
