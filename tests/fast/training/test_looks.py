"""Looks at test photos are counted by the photos' contents, over runs and commands."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest

from pets.cache import memo
from pets.cache.store import Store
from pets.data.photos import Photo, Photos
from pets.errors import DataError, RunError
from pets.run_dir import RunDir
from pets.training.looks import FILE, Looks, count_look, count_look_among, looks_at
from pets.training.table import contents_of_test

PHOTOS = [b"one", b"two", b"three"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def a_run(folder: Path) -> RunDir:
    """A run of its own time."""
    folder.mkdir()
    seconds = {"head": time.monotonic()}
    status = {"state": "finished", "started": "2026-01-01T00:00:00+00:00", "seconds": seconds}
    (folder / "status.json").write_text(json.dumps(status))
    return RunDir(folder)


def test_looks_are_counted_over_runs_and_commands(tmp_path: Path) -> None:
    first, second = a_run(tmp_path / "first"), a_run(tmp_path / "second")
    assert looks_at(PHOTOS, first) == Looks(0, 0)
    assert count_look(first, PHOTOS, "train") == Looks(1, 1)
    assert count_look(second, PHOTOS, "train") == Looks(2, 2)
    assert count_look(first, PHOTOS, "eval") == Looks(3, 2)
    assert looks_at(PHOTOS) == looks_at(PHOTOS, first, second) == Looks(3, 2)
    lines = [json.loads(line) for line in (first.path / FILE).read_text().splitlines()]
    assert [line["command"] for line in lines] == ["train", "eval"]


def test_photos_are_told_by_their_contents_in_any_order(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    count_look(run, PHOTOS, "eval")
    assert count_look(run, PHOTOS[::-1], "eval") == Looks(2, 1)
    assert count_look(run, PHOTOS[:2], "eval") == Looks(1, 1), "other photos"
    assert looks_at(PHOTOS, run) == Looks(2, 1)


def test_without_its_cache_a_run_still_knows_its_own_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = a_run(tmp_path / "first"), a_run(tmp_path / "second")
    for run in (first, first, second):
        count_look(run, PHOTOS, "eval")
    monkeypatch.setenv("PETS_CACHE", str(tmp_path / "another machine"))
    assert count_look(first, PHOTOS, "eval") == Looks(3, 1)
    assert looks_at(PHOTOS, first, second) == Looks(4, 2)
    assert looks_at(PHOTOS) == Looks(1, 1)


def test_a_run_that_was_moved_is_the_same_run(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    count_look(run, PHOTOS, "train")
    (tmp_path / "elsewhere").mkdir()
    moved = RunDir(run.path.rename(tmp_path / "elsewhere/renamed"))
    assert count_look(moved, PHOTOS, "eval") == Looks(2, 1)
    # A sweep's runs have the same names as those of another one.
    other = a_run(tmp_path / "run")
    assert count_look(other, PHOTOS, "eval") == Looks(3, 2)


def test_runs_that_a_sweep_started_at_once_are_told_by_what_they_reached(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name) for name in ("first", "second")]
    for number, run in enumerate(runs):
        status = {"seconds": {"head": 0.25}, "metrics": {"valid_loss": 0.5 + number}}
        (run.path / "status.json").write_text(json.dumps(run.status | status))
    first, second = (RunDir(run.path) for run in runs)
    count_look(first, PHOTOS, "train")
    assert count_look(second, PHOTOS, "train") == Looks(2, 2)


def test_clearing_the_cache_keeps_the_looks(tmp_path: Path, cache: Path) -> None:
    run = a_run(tmp_path / "run")
    count_look(run, PHOTOS, "eval")
    Store(str(cache)).clear()
    memo.clear(cache)
    assert looks_at(PHOTOS) == Looks(1, 1)


def test_a_line_that_was_cut_off_is_no_look(tmp_path: Path, cache: Path) -> None:
    run = a_run(tmp_path / "run")
    count_look(run, PHOTOS, "eval")
    for file in (run.path / FILE, *(cache / "looks").iterdir()):
        with file.open("a") as stream:
            stream.write('{"data": "x", "ru\n[1]\n"text"\n\n')
    assert count_look(run, PHOTOS, "eval") == Looks(2, 1)


def test_half_a_line_is_not_glued_to_the_next(tmp_path: Path, cache: Path) -> None:
    run = a_run(tmp_path / "run")
    count_look(run, PHOTOS, "eval")
    for file in (run.path / FILE, *(cache / "looks").iterdir()):
        file.write_bytes(file.read_bytes() + b'{"data": "x", "ru')
    assert count_look(run, PHOTOS, "eval") == Looks(2, 1)
    assert len((run.path / FILE).read_text().splitlines()) == 3
    assert count_look(run, PHOTOS, "eval") == Looks(3, 1)


def test_what_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run(tmp_path / "run")
    (run.path / FILE).mkdir()
    with caplog.at_level(logging.WARNING):
        assert count_look(run, PHOTOS, "eval") == Looks(1, 1)
    assert f"{run.path / FILE}: this look at the photos is not counted there (" in caplog.text


def test_a_run_knows_the_contents_of_its_test_photos(tmp_path: Path) -> None:
    run, root = a_run(tmp_path / "run"), tmp_path / "photos"
    root.mkdir()
    splits = {"a.jpg": "train", "b.jpg": "test", "c.jpg": "valid", "d.jpg": "test"}
    for name in splits:
        (root / name).write_text(name)
    photos = Photos(root, tuple(Photo(name, "cat", split) for name, split in splits.items()))
    photos.save(run.path / "photos.csv")
    run.write_json("data.json", {"train": 1, "valid": 1, "test": 2})
    assert count_look(run, photos.contents(photos.of("test")), "train") == Looks(1, 1)
    tests = contents_of_test(run)
    assert looks_at(tests, run) == Looks(1, 1)
    # Looked at among others, or without some: the run's test photos were seen again.
    assert count_look_among(run, tests[::-1], "eval") == ""
    assert count_look_among(run, PHOTOS, "eval") == ""
    assert looks_at(tests, run) == Looks(1, 1)
    assert count_look_among(run, [tests[0], *PHOTOS], "eval") == (
        f"1 of these are test photos of {run.path}, which were looked at twice, by 1 run."
    )
    assert looks_at(tests, run) == Looks(2, 1)
    table = run.path / "photos.csv"
    table.write_text(table.read_text().replace(contents_of_test(run)[0].hex(), "no hash"))
    with pytest.raises(DataError, match=r"photos.csv: damaged, a content that is no hash \("):
        contents_of_test(run)
    run.write_json("data.json", {"train": 1, "valid": 1, "test": 3})
    with pytest.raises(RunError, match=r"names 4 photos, though data.json counts 5; one of"):
        contents_of_test(run)


@pytest.mark.parametrize(
    ("looks", "text"),
    [
        (Looks(0, 0), "looked at before looks were counted"),
        (Looks(1, 1), "looked at once, by 1 run"),
        (Looks(2, 1), "looked at twice, by 1 run"),
        (Looks(4, 3), "looked at 4 times, by 3 runs"),
        (Looks(1234, 1000), "looked at 1,234 times, by 1,000 runs"),
    ],
)
def test_they_are_said_in_words(looks: Looks, text: str) -> None:
    assert str(looks) == text
    assert looks.sentence() == (
        f"These photos were {text}: the more looks lead to a choice, the more the chosen number "
        "flatters."
    )
