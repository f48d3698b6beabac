"""Data sets in the formats of the Hugging Face hub, from folders: no network."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import pets.data.hf
from pets.config import DataConfig
from pets.data.hf import materialise
from pets.data.prepare import prepare_photos
from pets.errors import ConfigError, DataError
from tests.conftest import train_config

datasets = pytest.importorskip("datasets")
BREEDS = ["Harbour_Blue", "Silk_Sealpoint"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")


@pytest.fixture
def photos(drawn: Path) -> dict[str, list[Path]]:
    """Ten photos of each of two breeds."""
    return {breed: sorted((drawn / "images").glob(f"{breed}_*.jpg")) for breed in BREEDS}


def rows(photos: dict[str, list[Path]], some: slice) -> Any:
    """A split as a data set with photos, class names and a column of other things."""
    files = [(file, n) for n, breed in enumerate(BREEDS) for file in photos[breed][some]]
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "breed": datasets.ClassLabel(names=[name.lower() for name in BREEDS]),
            "owner": datasets.Value("string"),
        }
    )
    columns = {
        "photo": [{"bytes": file.read_bytes(), "path": "../../evil.jpg"} for file, _ in files],
        "breed": [n for _, n in files],
        "owner": ["ann"] * len(files),
    }
    return datasets.Dataset.from_dict(columns, features)


def config(folder: Path, root: Path, *more: str) -> DataConfig:
    return train_config("data=hf", f"data.dataset={folder}", f"data.root={root}", *more).data


def test_splits_labels_and_bytes_are_kept(
    photos: dict[str, list[Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    whole = datasets.DatasetDict(
        train=rows(photos, slice(6)),
        validation=rows(photos, slice(6, 8)),
        test=rows(photos, slice(8, 10)),
        extra=rows(photos, slice(2)),
    )
    whole.save_to_disk(tmp_path / "saved")
    (tmp_path / "parquet").mkdir()
    for name in ("train", "validation", "test"):
        whole[name].to_parquet(tmp_path / f"parquet/{name}.parquet")
    for source in ("saved", "parquet"):
        root = tmp_path / f"root-{source}"
        found = prepare_photos(config(tmp_path / source, root))
        assert Counter((p.split, p.label) for p in found.rows) == {
            (split, breed.lower()): n
            for split, n in (("train", 6), ("valid", 2), ("test", 2))
            for breed in BREEDS
        }
        originals = {file.read_bytes() for files in photos.values() for file in files}
        assert {(root / p.path).read_bytes() for p in found.rows} == originals, "byte for byte"
        assert sorted(p.name for p in root.iterdir()) == ["images", "labels.csv"]
    assert not list(tmp_path.rglob("evil*")), "its names are not used"
    assert "photos from the column photo, labels from breed" in caplog.text
    assert "left out the splits extra" in caplog.text


def test_folders_of_classes_are_opened(photos: dict[str, list[Path]], tmp_path: Path) -> None:
    for split, some in (("train", slice(8)), ("test", slice(8, 10))):
        for breed, files in photos.items():
            (tmp_path / "set" / split / breed).mkdir(parents=True)
            for file in files[some]:
                shutil.copy(file, tmp_path / "set" / split / breed)
    found = prepare_photos(config(tmp_path / "set", tmp_path / "root"))
    assert found.classes == BREEDS
    counts = Counter(p.split for p in found.rows)
    assert counts == {"train": 14, "valid": 2, "test": 4}, "validation photos are carved from train"


def test_photos_without_a_label_are_left_out(
    photos: dict[str, list[Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    unlabelled = rows(photos, slice(2)).map(lambda row: {"breed": -1})
    datasets.DatasetDict(train=rows(photos, slice(6)), test=unlabelled).save_to_disk(
        tmp_path / "saved"
    )
    materialise(tmp_path / "root", str(tmp_path / "saved"))
    assert set(pd.read_csv(tmp_path / "root/labels.csv").split) == {"train"}
    assert "left out 4 photos of the split test: they have no label" in caplog.text


def test_what_is_not_clear_is_one_line_and_leaves_no_folder(
    photos: dict[str, list[Path]], tmp_path: Path
) -> None:
    data = rows(photos, slice(6))
    data.save_to_disk(tmp_path / "one")
    data.add_column("sex", [0, 1] * 6).cast_column(
        "sex", datasets.ClassLabel(names=["f", "m"])
    ).save_to_disk(tmp_path / "two")
    datasets.DatasetDict(part1=data).save_to_disk(tmp_path / "parts")
    leak = data.cast_column("photo", datasets.Image(decode=False))
    leak = leak.map(lambda row: {"photo": {"bytes": None, "path": "/etc/passwd"}})
    (tmp_path / "leak").mkdir()
    # Not by `datasets`, which would put the file's content into the table.
    table = leak.data.table.replace_schema_metadata(data.features.arrow_schema.metadata)
    pq.write_table(table, tmp_path / "leak/train.parquet")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/code.py").write_text("raise SystemExit('run')")
    root = tmp_path / "root"
    for source, args, line in (
        (
            "two",
            {},
            "several columns of labels; its columns are photo, breed, owner, sex; cho",
        ),
        ("one", {"image_column": "pic"}, "data.prepare.image_column=pic: "),
        ("parts", {}, "its splits are part1; expected one for training, such as train"),
        ("leak", {}, "a photo without content (/etc/passwd); expected bytes, or one of its files"),
        ("code", {}, "cannot be opened ("),
    ):
        with pytest.raises(DataError) as error:
            materialise(root, str(tmp_path / source), **args)
        assert line in str(error.value)
        assert "\n" not in str(error.value)
        assert not root.exists()
    materialise(root, str(tmp_path / "two"), label_column="sex")
    assert set(pd.read_csv(root / "labels.csv").label) == {"f", "m"}


def test_the_data_set_must_be_named() -> None:
    with pytest.raises(
        ConfigError, match=r"^data\.dataset is needed; give it as data\.dataset=\.\.\.$"
    ):
        train_config("data=hf")
    given = train_config("data=hf", "data.dataset=../user/pets").data
    assert given.root == "data/hf/user-pets"


def test_without_a_network_a_name_of_the_hub_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pets.data.hf.hub, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"data\.dataset=user/pets: cannot be downloaded \("):
        materialise(tmp_path / "root", "user/pets")
