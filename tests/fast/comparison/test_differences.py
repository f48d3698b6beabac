"""What two runs differ in, from the files that they left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from pets.comparison.differences import Difference, config_differences, data_difference
from pets.comparison.write import describe_data
from pets.data.photos import Photo, Photos
from pets.run_dir import RunDir


def run_with(path: Path, config: dict[str, Any], **packages: str) -> RunDir:
    path.mkdir()
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    about = {"pets": "0.1.0", "python": "3.12.1", "packages": packages}
    (path / "environment.json").write_text(json.dumps(about))
    return RunDir(path)


def table(*rows: tuple[str, str, str, str]) -> Photos:
    """Photos of (name, label, split, content)."""
    return Photos(Path(), tuple(Photo(*row) for row in rows))


def test_configs_differ_by_their_dotted_keys(tmp_path: Path) -> None:
    head = {"epochs": 4, "lr": 0.003}
    old = {"seed": 1, "data": {"size": 224, "root": "a"}, "stages": {"head": head}, "gone": [1]}
    new = {"seed": 1, "data": {"size": 260, "root": "a"}, "stages": {"head": head, "body": {}}}
    runs = run_with(tmp_path / "a", old, torch="2.9"), run_with(tmp_path / "b", new, torch="2.10")
    assert config_differences(*runs) == [
        Difference("data.size", "224", "260"),
        Difference("stages.body", "–", "{}"),
        Difference("gone", "[1]", "–"),
        Difference("version of torch", "2.9", "2.10"),
    ]
    assert config_differences(runs[0], runs[0]) == []


def test_where_a_run_was_made_is_no_difference_of_it(tmp_path: Path) -> None:
    place = {"cache_dir": "/a", "resume": None, "trust": True, "sweep": {"resume": None}}
    other = {"cache_dir": "/b", "resume": "/r", "trust": False, "sweep": {"resume": "/s"}}
    assert (
        config_differences(run_with(tmp_path / "a", place), run_with(tmp_path / "b", other)) == []
    )


def test_photos_differ_by_their_contents() -> None:
    old = table(
        ("1.jpg", "cat", "train", "aa"), ("2.jpg", "cat", "test", "bb"),
        ("3.jpg", "dog", "train", "cc"), ("4.jpg", "newt", "valid", "dd"),
        ("5.jpg", "dog", "train", "ee"),
    )  # fmt: skip
    new = table(
        ("renamed.jpg", "cat", "train", "aa"), ("2.jpg", "cat", "train", "bb"),
        ("3.jpg", "cat", "train", "cc"), ("4.jpg", "ant", "valid", "ff"),
        ("5.jpg", "dog", "train", "ee"),
    )  # fmt: skip
    found = data_difference(old, new)
    assert found.counts == {"train": (3, 4), "valid": (1, 1), "test": (1, 0)}
    assert (found.shared, found.only_old, found.only_new, found.relabelled) == (4, 1, 1, 1)
    assert found.moved == {"test -> train": 1}
    assert (found.classes_gone, found.classes_added) == (["newt"], ["ant"])
    assert describe_data(found.as_dict()) == [
        "Photos of the old and of the new run: 3 and 4 train, 1 valid, 1 and 0 test; 4 are in "
        "both.",
        "In the old run alone: 1.",
        "In the new run alone: 1.",
        "Moved from test -> train: 1.",
        "With another label: 1.",
        "Classes of the old run alone: newt.",
        "Classes of the new run alone: ant.",
    ]
    assert len(describe_data(data_difference(old, old).as_dict())) == 1
