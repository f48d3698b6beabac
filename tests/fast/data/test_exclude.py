"""`data.exclude`: which photos a table removes, and that the others do not change."""

import re
from pathlib import Path

import pytest
from PIL import Image

from pets.config import DataConfig
from pets.data.collect import collect_photos
from pets.errors import DataError
from tests.conftest import train_config


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two labels of ten photos each."""
    for label in ("cats", "dogs"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for n in range(10):
            Image.new("RGB", (8, 6)).save(tmp_path / f"photos/{label}/{n}.jpg")
    return tmp_path / "photos"


def config(root: Path, rows: str | None, *more: str) -> DataConfig:
    args = list(more)
    if rows is not None:
        file = root.parent / "out.csv"
        file.write_text(rows)
        args.append(f"data.exclude={file}")
    return train_config("data=folder", f"data.root={root}", "data.test_pct=0.2", *args).data


def splits(config: DataConfig) -> dict[str, str]:
    return {photo.path: photo.split for photo in collect_photos(config).rows}


def test_excluded_rows_are_removed_and_others_keep_their_split(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = splits(config(root, None))
    rows = "path,proposed,kind\ncats/1.jpg,exclude,a\ncats/2.jpg,keep,a\ndogs/3.jpg,keep,a\n"
    data = config(root, rows + "dogs/3.jpg,exclude,b\ndogs/77.jpg,exclude,a\n,keep,whole\n")
    gone = {"cats/1.jpg", "dogs/3.jpg"}
    assert splits(data) == {path: split for path, split in before.items() if path not in gone}
    assert re.search(r"data\.exclude=.*out\.csv: left out 2 photos \(", caplog.text)
    assert "1 rows name no photo: dogs/77.jpg" in caplog.text


def test_without_a_column_proposed_every_row_counts(root: Path) -> None:
    assert "cats/1.jpg" not in splits(config(root, "path\ncats/1.jpg\n"))


def test_paths_match_in_any_spelling(root: Path) -> None:
    (root / "cats").rename(root / "épagneul")  # one character for the accent
    Image.new("RGB", (8, 6)).save(root / "dogs/a\\b.jpg")
    rows = ["./e\u0301pagneul/1.jpg", "\u00e9pagneul\\2.jpg", f"{root}/dogs/3.jpg", "dogs/a\\b.jpg"]
    kept = splits(config(root, "path\n" + "\n".join(rows)))
    assert len(kept) == 17
    gone = {"épagneul/1.jpg", "épagneul/2.jpg", "dogs/3.jpg", "dogs/a\\b.jpg"}
    assert not gone & set(kept)
    # But no other photo of that name.
    assert "dogs/1.jpg" in splits(config(root, "path\n1.jpg\ndogs/2.jpg\n"))


def test_the_fingerprint_is_that_of_the_remaining_photos(root: Path) -> None:
    whole = collect_photos(config(root, None)).fingerprint
    assert collect_photos(config(root, "path\ncats/1.jpg\n")).fingerprint != whole
    assert collect_photos(config(root, "path,proposed\ncats/1.jpg,keep\n")).fingerprint == whole


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("file\ncats/1.jpg\n", "has no column path; its first line names file"),
        ("path,proposed,proposed\ncats/1.jpg,exclude,keep\n", "has several columns proposed; give"),
        ("path,proposed\ncats/1.jpg,no\n", "column proposed has no; expected keep or exclude"),
        ("path,proposed\ncats/1.jpg,\n", "column proposed has an empty cell; expected keep or"),
        ("path\nimages/1.jpg\n", "none of its 1 rows names a photo (images/1.jpg); expected"),
    ],
)
def test_an_invalid_table_is_reported_by_name(root: Path, rows: str, line: str) -> None:
    data = config(root, rows)
    with pytest.raises(DataError, match=re.escape(f"data.exclude={data.exclude}: {line}")):
        collect_photos(data)
    (root.parent / "out.csv").unlink()
    with pytest.raises(DataError, match=r"data\.exclude=.*out\.csv: no such file"):
        collect_photos(data)


def test_problems_of_only_excluded_photos_are_ignored(root: Path) -> None:
    """No label, a class of one photo, a table's row without a file."""
    Image.new("RGB", (8, 6)).save(root / "bare.jpg")
    (root / "birds").mkdir()
    Image.new("RGB", (8, 6)).save(root / "birds/1.jpg")
    with pytest.raises(DataError, match=r"no label folder around 1 of 22 photos: bare\.jpg"):
        collect_photos(config(root, None))
    with pytest.raises(DataError, match=r"label birds: one photo \(birds/1\.jpg\)"):
        collect_photos(config(root, "path\nbare.jpg\n"))
    photos = collect_photos(config(root, "path\nbare.jpg\nbirds/1.jpg\n"))
    assert len(photos.rows) == 20
    assert photos.classes == ["cats", "dogs"]

    names = [f"{label}/{n}.jpg,{label}" for label in ("cats", "dogs") for n in range(10)]
    (root / "labels.csv").write_text("path,label\n" + "\n".join([*names, "gone.jpg,cats"]) + "\n")
    table = ["data=table", "data.test_pct=0.2"]
    with pytest.raises(DataError, match=r"names 1 of 21 photos that are not below .*: gone\.jpg"):
        collect_photos(config(root, None, *table))
    assert len(collect_photos(config(root, "path\ngone.jpg\n", *table)).rows) == 20


def test_a_list_may_name_photos_that_were_left_out_as_unreadable(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for breed in ("Sphynx", "beagle"):
        for n in range(1, 7):
            Image.new("RGB", (8, 6)).save(tmp_path / f"images/{breed}_{n}.jpg")
    for name, numbers in (("trainval", range(1, 5)), ("test", range(5, 7))):
        lines = [f"{breed}_{n} 1 1 1" for breed in ("Sphynx", "beagle") for n in numbers]
        (tmp_path / f"annotations/{name}.txt").write_text("\n".join(lines))
    (tmp_path / "images/beagle_6.jpg").write_bytes(b"")
    args = ["data=oxford_pets", f"data.root={tmp_path}", "data.split=official"]
    photos = collect_photos(train_config(*args).data)
    assert [len(photos.of(split)) for split in ("train", "valid", "test")] == [6, 2, 3]
