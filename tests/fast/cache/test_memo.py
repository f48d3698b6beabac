"""Memoized results about files: shared by processes, recomputed when a file changes."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from pets.cache import memo
from pets.cache.memo import FileMemo


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memo, "_folder", tmp_path / "cache")
    return tmp_path / "cache"


def process(asked: list[str], says: str = "ok", sure: str = "ok") -> FileMemo[str]:
    """A memo as in another process: the same function, no results in memory."""

    def ask(file: Path) -> str:
        asked.append(file.name)
        return f"{says} {file.read_text()}"

    return FileMemo("how is it", ask, is_final=lambda answer: answer.startswith(sure))


def written(file: Path, text: str) -> Path:
    """An older file: ctime cannot be set, so the clock that the memo reads is advanced."""
    file.write_text(text)
    return file


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr("pets.cache.memo.time.time", lambda: now() + 10)


@pytest.mark.usefixtures("later")
def test_results_are_shared_between_processes(tmp_path: Path) -> None:
    asked: list[str] = []
    files = [written(tmp_path / name, name) for name in "abc"]
    assert process(asked).of_all(files, "") == ["ok a", "ok b", "ok c"]
    assert process(asked).of_all([*files, files[0]], "") == ["ok a", "ok b", "ok c", "ok a"]
    assert asked == ["a", "b", "c"]
    assert FileMemo("what else", lambda file: "no").of_all(files, "") == ["no"] * 3


@pytest.mark.usefixtures("later")
def test_a_process_that_ends_early_keeps_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pets.cache.memo._CHUNK", 2)
    files = [written(tmp_path / name, name) for name in "abcde"]

    def ask(file: Path) -> str:
        if file.name == "e":
            raise KeyboardInterrupt
        return "asked"

    with pytest.raises(KeyboardInterrupt):
        FileMemo("how is it", ask).of_all(files, "")
    asked: list[str] = []
    assert process(asked).of_all(files, "") == ["asked"] * 4 + ["ok e"]
    assert asked == ["e"]


@pytest.mark.usefixtures("later")
def test_a_changed_file_is_recomputed_even_with_its_old_times_and_size(tmp_path: Path) -> None:
    asked: list[str] = []
    file = written(tmp_path / "a", "old")
    before = file.stat()
    process(asked).of_all([file], "")
    time.sleep(0.02)
    file.write_text("new")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert process(asked).of_all([file], "") == ["ok new"]
    other = written(tmp_path / "b", "xyz")
    process(asked).of_all([other], "")
    other.replace(file)
    assert process(asked).of_all([file], "") == ["ok xyz"]


def test_the_result_of_a_file_just_written_is_not_stored(tmp_path: Path) -> None:
    asked: list[str] = []
    file = written(tmp_path / "a", "a")
    for _ in range(2):
        process(asked).of_all([file], "")
    assert asked == ["a", "a"]


@pytest.mark.usefixtures("later")
def test_results_that_are_not_final_are_not_stored(tmp_path: Path) -> None:
    asked: list[str] = []
    file = written(tmp_path / "a", "a")
    for says in ("disk error", "ok", "never asked"):
        result = process(asked, says).of_all([file], "")
    assert (result, asked) == (["ok a"], ["a", "a"])


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("damage", ["no database", "a folder", "other columns"])
def test_an_unusable_database_is_ignored(
    tmp_path: Path, folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    if damage == "no database":
        (folder / memo.NAME).write_text("this is no database, " * 100)
    elif damage == "a folder":
        (folder / memo.NAME).mkdir()
    else:
        with sqlite3.connect(folder / memo.NAME) as table:
            table.execute("CREATE TABLE memo (something)")
    asked: list[str] = []
    caplog.set_level("INFO")
    file = written(tmp_path / "a", "a")
    for _ in range(2):
        assert process(asked).of_all([file], "") == ["ok a"]
    assert asked == ["a", "a"]
    assert f"{folder / memo.NAME}: not used, photos are checked again (" in caplog.text


@pytest.mark.usefixtures("later")
def test_clear_deletes_the_database(tmp_path: Path, folder: Path) -> None:
    asked: list[str] = []
    file = written(tmp_path / "a", "a")
    process(asked).of_all([file], "")
    assert memo.clear(folder) > 0
    assert memo.clear(folder) == 0
    process(asked).of_all([file], "")
    assert asked == ["a", "a"]
