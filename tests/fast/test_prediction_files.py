"""Prediction files: no class overwrites a column, and nothing half-written is left."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from pets.errors import ConfigError
from pets.prediction import Prediction, find_source
from pets.prediction_files import prediction_file

CLASSES = ["cat", "error", "file", "a,b"]
ROWS = [
    Prediction(Path("x/1.jpg"), [0.1, 0.2, 0.6, 0.1]),
    Prediction(Path("2.jpg"), None, "2.jpg: cannot be read"),
]


def written(out: Path) -> Path:
    with prediction_file(out, CLASSES) as write:
        write(ROWS[:1])
        write(ROWS[1:])
    return out


def test_classes_named_like_a_column_get_one_of_their_own(tmp_path: Path) -> None:
    names = [
        "file",
        "prediction",
        "probability",
        "cat",
        "class:error",
        "class:file",
        "a,b",
        "error",
    ]
    with written(tmp_path / "p.csv").open() as stream:
        header, first, second = list(csv.reader(stream))
    assert header == names
    assert first == ["x/1.jpg", "file", "0.6", "0.1", "0.2", "0.6", "0.1", ""]
    assert second == ["2.jpg", "", "", "", "", "", "", "2.jpg: cannot be read"]
    (one, two) = json.loads(written(tmp_path / "p.json").read_text())
    assert (one["file"], one["prediction"], one["class:file"]) == ("x/1.jpg", "file", 0.6)
    assert two["error"] == "2.jpg: cannot be read"
    frame = pd.read_parquet(written(tmp_path / "p.PARQUET"))
    assert list(frame) == names
    assert frame.prediction[0] == "file"


def test_an_earlier_file_survives_when_nothing_could_be_read(tmp_path: Path) -> None:
    out = written(tmp_path / "p.csv")
    before = out.read_text()
    with prediction_file(out, CLASSES) as write:
        write(ROWS[1:])
    assert out.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p.csv"]


def test_places_and_formats_that_do_not_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"p\.xlsx: unknown format; expected \.csv, "):
        written(tmp_path / "p.xlsx")
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match=r"taken/p\.csv: cannot be written"):
        written(tmp_path / "taken/p.csv")


def test_lists_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"x")
    (tmp_path / "list.txt").write_text("1.jpg\n# no\n\n", encoding="utf-8-sig")
    assert find_source(str(tmp_path / "list.txt")) == [tmp_path / "1.jpg"]
    (tmp_path / "latin.txt").write_bytes("ü.jpg".encode("latin-1"))
    with pytest.raises(Exception, match="is no text in UTF-8"):
        find_source(str(tmp_path / "latin.txt"))
