"""Labels from names, folders and tables; splits at random, by lists, folders and columns."""

import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pets.config import DataConfig
from pets.data.collect import collect_photos
from pets.data.diagnostics import Diagnostics
from pets.data.discovery import find_photos
from pets.data.labels import label_from_filename
from pets.data.photos import Photos
from pets.data.splits import carve
from pets.errors import DataError
from tests.conftest import train_config


def photo(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path, "JPEG")


def config(kind: str, root: Path, *more: str) -> DataConfig:
    return train_config(f"data={kind}", f"data.root={root}", *more).data


def oxford(root: Path) -> Path:
    """Two breeds of ten photos, six and four of them in the official lists."""
    for breed in ("great_pyrenees", "Sphynx"):
        for n in range(1, 11):
            photo(root / f"images/{breed}_{n}.jpg")
    (root / "images/Sphynx_1.mat").write_text("not a photo")
    (root / "annotations").mkdir()
    rows = {
        "trainval.txt": [
            f"{b}_{n} 1 1 1" for b in ("great_pyrenees", "Sphynx") for n in range(1, 7)
        ],
        "test.txt": [f"{b}_{n} 1 1 1" for b in ("great_pyrenees", "Sphynx") for n in range(7, 11)],
    }
    for name, lines in rows.items():
        (root / "annotations" / name).write_text("# a comment\n" + "\n".join(lines) + "\n")
    return root


def test_regex_matches_only_the_file_name() -> None:
    paths = ["images_7/great_pyrenees_173.jpg", "b_2/Egyptian_Mau_14.jpg"]
    assert label_from_filename(paths, r"^(.+)_\d+\.jpg$") == {
        "images_7/great_pyrenees_173.jpg": "great_pyrenees",
        "b_2/Egyptian_Mau_14.jpg": "Egyptian_Mau",
    }


def test_a_named_group_wins_over_the_first() -> None:
    assert label_from_filename(["x-cat-3.jpg"], r"(\w)-(?P<label>\w+)-") == {"x-cat-3.jpg": "cat"}


@pytest.mark.parametrize(
    ("regex", "line"),
    [
        (r"^nothing_(\d+)$", "does not match 20 of 20 photos: images/Sphynx_1.jpg, images/"),
        (
            r"^(S.+)_\d+\.jpg$",
            "does not match 10 of 20 photos: images/great_pyrenees_1.jpg, images/",
        ),
    ],
)
def test_a_wrong_regex_is_named(tmp_path: Path, regex: str, line: str) -> None:
    data = config("oxford_pets", oxford(tmp_path)).model_copy(update={"label_regex": regex})
    with pytest.raises(DataError, match=re.escape(line)):
        collect_photos(data)


def test_unlabelled_photos_can_be_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo(oxford(tmp_path) / "images/notes.jpg")
    photos = collect_photos(config("oxford_pets", tmp_path, "data.on_unlabelled=skip"))
    assert len(photos.rows) == 20
    assert "1 of 21 photos: images/notes.jpg" in caplog.text


def test_random_split_is_stratified_seeded_and_free_of_order(tmp_path: Path) -> None:
    oxford(tmp_path)
    photos = collect_photos(config("oxford_pets", tmp_path, "data.test_pct=0.3"))
    counts = Counter((p.label, p.split) for p in photos.rows)
    for breed in ("Sphynx", "great_pyrenees"):
        assert [counts[breed, s] for s in ("train", "valid", "test")] == [5, 2, 3]
    again = collect_photos(config("oxford_pets", tmp_path, "data.test_pct=0.3"))
    other = collect_photos(
        config("oxford_pets", tmp_path, "data.test_pct=0.3", "data.split_seed=1")
    )
    assert photos.rows == again.rows
    assert photos.rows != other.rows

    labels = {p.path: p.label for p in photos.rows}
    backwards = dict(reversed(labels.items()))
    assert carve(labels, "valid", 0.2, 7, Diagnostics()) == carve(
        backwards, "valid", 0.2, 7, Diagnostics()
    )


def test_official_split_carves_validation_from_trainval_only(tmp_path: Path) -> None:
    photos = collect_photos(config("oxford_pets", oxford(tmp_path), "data.split=official"))
    test = {p.path for p in photos.of("test")}
    assert test == {
        f"images/{b}_{n}.jpg" for b in ("great_pyrenees", "Sphynx") for n in range(7, 11)
    }
    assert len(photos.of("train")) == 10
    assert Counter(p.label for p in photos.of("valid")) == {"great_pyrenees": 1, "Sphynx": 1}


def test_official_list_naming_missing_files(tmp_path: Path) -> None:
    root = oxford(tmp_path)
    for n in (7, 8, 9, 10):
        (root / f"images/Sphynx_{n}.jpg").unlink()
    line = "names 4 of 8 photos that are not below .*: Sphynx_7, Sphynx_8, Sphynx_9 and 1 more"
    with pytest.raises(DataError, match=line):
        collect_photos(config("oxford_pets", root, "data.split=official"))


def test_photo_list_selects_the_listed_photos(tmp_path: Path) -> None:
    root = oxford(tmp_path)
    (root / "annotations/list.txt").write_text(
        "Sphynx_1 1\nSphynx_2 1\ngreat_pyrenees_3 2\ngreat_pyrenees_4 2\n"
    )
    photos = collect_photos(config("oxford_pets", root, "data.photo_list=annotations/list.txt"))
    assert [p.path.split("/")[1] for p in photos.rows] == [
        "Sphynx_1.jpg", "Sphynx_2.jpg", "great_pyrenees_3.jpg", "great_pyrenees_4.jpg",
    ]  # fmt: skip


def test_folders_with_and_without_splits(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("valid", 3), ("test", 2)):
        for label in ("cats", "dogs"):
            for n in range(count):
                photo(tmp_path / f"a/{part}/{label}/{n}.jpg")
    photos = collect_photos(config("folder", tmp_path / "a"))
    assert [len(photos.of(s)) for s in ("train", "valid", "test")] == [12, 6, 4]
    assert photos.classes == ["cats", "dogs"]
    assert all(p.path.startswith(p.split) for p in photos.rows)

    flat = tmp_path / "a/train"
    photos = collect_photos(config("folder", flat))
    assert [len(photos.of(s)) for s in ("train", "valid", "test")] == [10, 2, 0]


def test_train_and_test_folders_without_validation(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in ("cats", "dogs"):
            for n in range(5):
                photo(tmp_path / f"{part}/{label}/{n}.jpg")
    photos = collect_photos(config("folder", tmp_path))
    assert [len(photos.of(s)) for s in ("train", "valid", "test")] == [8, 2, 10]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_table_with_a_split_column(tmp_path: Path, suffix: str) -> None:
    rows = []
    for n in range(8):
        photo(tmp_path / f"pics/{n}.jpg")
        rows.append((f"pics/{n}.jpg", "cat" if n % 2 else "dog", "val" if n < 2 else "training"))
    frame = pd.DataFrame(rows, columns=["file", "breed", "part"])
    getattr(frame, f"to_{suffix}")(tmp_path / f"t.{suffix}", index=False)
    columns = ["data.path_column=file", "data.label_column=breed"]
    photos = collect_photos(
        config("table", tmp_path, f"data.table=t.{suffix}", *columns, "data.split=column",
               "data.split_column=part")
    )  # fmt: skip
    assert [(p.path, p.label, p.split) for p in photos.rows][:3] == [
        ("pics/0.jpg", "dog", "valid"),
        ("pics/1.jpg", "cat", "valid"),
        ("pics/2.jpg", "dog", "train"),
    ]  # fmt: skip


def test_too_few_classes_or_photos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder"):
        collect_photos(config("folder", tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images; expected files ending in \.apng, \.avif, "):
        collect_photos(config("folder", tmp_path / "empty"))
    for n in range(3):
        photo(tmp_path / f"one/cats/{n}.jpg")
    with pytest.raises(DataError, match=r"one label only \(cats\) on 3 photos"):
        collect_photos(config("folder", tmp_path / "one"))
    photo(tmp_path / "one/dogs/0.jpg")
    with pytest.raises(DataError, match=r"label dogs: one photo \(dogs/0\.jpg\) cannot be both"):
        collect_photos(config("folder", tmp_path / "one"))


def test_fingerprint_depends_on_content_label_and_split(tmp_path: Path) -> None:
    oxford(tmp_path)
    data = config("oxford_pets", tmp_path)
    before = collect_photos(data).fingerprint
    assert collect_photos(data).fingerprint == before
    assert collect_photos(data.model_copy(update={"split_seed": 1})).fingerprint != before
    photo(tmp_path / "images/Sphynx_1.jpg", "blue")
    assert collect_photos(data).fingerprint != before


def test_the_table_of_photos_reads_back(tmp_path: Path) -> None:
    photos = collect_photos(config("oxford_pets", oxford(tmp_path)))
    photos.save(tmp_path / "photos.csv")
    read = Photos.load(tmp_path / "photos.csv", tmp_path)
    assert read == photos
    contents = [bytes.fromhex(photo.content) for photo in read.rows]
    assert contents == photos.contents(photos.rows)


def test_unreadable_photos_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = oxford(tmp_path)
    whole = (root / "images/Sphynx_2.jpg").read_bytes()
    (root / "images/Sphynx_2.jpg").write_bytes(whole[: len(whole) // 2])
    photos = collect_photos(config("oxford_pets", root))
    assert len(photos.rows) == 19
    assert "Sphynx_2.jpg: cannot be read as an image" in caplog.text


def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").touch()
    # Too long a path to be opened: that holds for root, too.
    here = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        here, before = os.open("d" * 250, os.O_RDONLY, dir_fd=here), here
        os.close(before)
    os.close(here)
    with pytest.raises(DataError, match=r"d: the folder cannot be read \(File name too long\)"):
        find_photos(tmp_path, ".", Diagnostics())


def test_names_that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    os.close(os.open(os.fsencode(tmp_path) + b"/\xfc.jpg", os.O_CREAT))
    with pytest.raises(
        DataError, match=r"names that are not UTF-8, rename the files: '\\udcfc.jpg'"
    ):
        find_photos(tmp_path, ".", Diagnostics())
