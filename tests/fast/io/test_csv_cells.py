"""CSV cells: never a formula for a spreadsheet, and the same text when read back."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from pets.config import VerifyConfig
from pets.config.validation import typed
from pets.data.photos import Photo, Photos
from pets.data.tables import read_excluded
from pets.interpretation.suspects import COLUMNS, write_suspects
from pets.io.csv_cells import read_cell, write_cell
from pets.training.metrics_csv import read_metrics, write_metrics
from pets.verify.verification import verify
from pets.verify.write import as_csv
from tests.conftest import composed
from tests.fast.data.test_labels_and_splits import photo

FORMULAS = ("=1+1.jpg", "+x", "-x", "@x", "\tx", "\rx", "＝x", "'=x", "''=x", "-1_0", "+1-800-555")
HARMLESS = ("", "a=b", "'x", "it's", " =x", "-1", "+.5", "-1.5e-3", "1e5", "é")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_written_as_text_and_read_as_it_was(text: str) -> None:
    assert write_cell(text) == f"'{text}"
    assert read_cell(write_cell(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_cells_are_unchanged(text: str) -> None:
    assert write_cell(text) == read_cell(text) == text


@pytest.mark.parametrize("value", [-1.5, 0, None, True, float("inf")])
def test_numbers_stay_numbers(value: object) -> None:
    assert write_cell(value) is value
    assert read_cell(value) is value


def test_every_csv_file_is_free_of_formulas(tmp_path: Path) -> None:
    """Photos, suspects, findings, metrics: what a spreadsheet opens has no cell like a formula."""
    for label in ("=cat", "@dog"):
        for n in range(3):
            photo(tmp_path / f"photos/{label}/-{n}.jpg")
    rows = [Photo(f"=cat/'={n}.jpg", "@dog", "train") for n in range(2)]
    for row in rows:
        photo(tmp_path / "photos" / row.path)
    photos = Photos(tmp_path / "photos", tuple(rows))
    photos.save(tmp_path / "photos.csv")
    assert Photos.load(tmp_path / "photos.csv", photos.root) == photos

    suspects = pd.DataFrame([["=x.jpg", "valid", "@dog", "=cat", 0.25, -0.5]], columns=[*COLUMNS])
    write_suspects(tmp_path / "suspects.csv", suspects)
    read = pd.read_csv(tmp_path / "suspects.csv")
    assert read.map(read_cell).equals(suspects)
    assert read.loc[0, "path"] == "'=x.jpg"

    args = ["data=folder", f"data.root={tmp_path / 'photos'}"]
    result = verify(typed(VerifyConfig, composed(*args, name="verify")))
    (tmp_path / "verify.csv").write_text(as_csv(result))
    assert {"=cat/-0.jpg"} <= read_excluded(str(tmp_path / "verify.csv"))  # the same picture thrice

    epoch = dict.fromkeys(("epoch", "step"), 1) | dict.fromkeys(
        ("train_loss", "valid_loss", "error_rate", "accuracy", "mean_class_accuracy", "seconds"),
        -0.5,
    )
    write_metrics(tmp_path / "metrics.csv", [{"stage": "=stage", **epoch}])
    assert read_metrics(tmp_path / "metrics.csv") == [{"stage": "=stage", **epoch}]

    for file in tmp_path.glob("*.csv"):
        cells = [cell for row in csv.reader(io.StringIO(file.read_text())) for cell in row]
        assert cells
        assert [cell for cell in cells if cell != write_cell(read_cell(cell))] == []
