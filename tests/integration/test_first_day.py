"""The first day of README, as it is typed there, on ten drawn breeds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import Pets
from tests.shown import TOP, commands

SMALL = """\
# @package _global_
data: {size: 96, batch_size: 16, num_workers: 0}
plan: {epochs: 1}
trainer: {precision: 32-true}
"""


def first_day() -> list[list[str]]:
    """The commands of the walk, in order, but the server, which does not end."""
    text = (TOP / "README.md").read_text().partition("\n## The first day\n")[2]
    walk = commands("README.md", text.partition("\n## ")[0])
    return [[command, *args] for _, command, args in walk if command != "serve"]


def test_the_first_day_of_the_readme(
    pets: Pets, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a machine has of its own makes the same commands small.
    own = pets.folder / "own/local"
    own.mkdir(parents=True)
    (own / "default.yaml").write_text(SMALL)
    monkeypatch.setenv("PETS_CONF", str(own.parent))
    photos = sorted((drawn / "images").glob("*.jpg"))
    for photo in photos:
        folder = pets.folder / "my_photos" / photo.name.rpartition("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder)
    shutil.copy(photos[0], pets.folder / "photo.jpg")
    (pets.folder / "photos").mkdir()
    shutil.copy(photos[0], pets.folder / "photos")

    day = first_day()
    kinds = ["verify", "train", "interpret", "train", "compare", "predict", "predict", "export"]
    assert [words[0] for words in day] == kinds
    for words in day:
        pets(*(filled(word, pets) for word in words))
    old, new = runs(pets)
    assert (old / "report.html").is_file()
    assert (old / "interpret/valid/suspects.csv").is_file()
    assert "relabel" in (new / "overrides.yaml").read_text()
    assert (pets.folder / "names.csv").is_file()
    assert (new / "export/onnx/predict.py").is_file()


def runs(pets: Pets) -> list[Path]:
    return sorted(pets.folder.glob("outputs/*_folder_efficientnet_lite0_*"))


def filled(word: str, pets: Pets) -> str:
    """A word with the folders that a reader puts there."""
    (verified,) = pets.folder.glob("outputs/*_verify_*") if "<verify>" in word else (Path(),)
    trained = runs(pets) or [Path()]
    names = {"verify": verified, "run": trained[-1], "old": trained[0], "new": trained[-1]}
    return re.sub(r"<(\w+)>", lambda match: names[match[1]].name, word)
