"""Screens that go away, disks that are full, photos that processes cannot hand over: work that is
done stays, and what ends a command is one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import need, on_a_small_disk
from tests.integration.conftest import SMALL, Pets

PETS = [sys.executable, "-m", "pets"]
ROOM = "make room, then run the command again"


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A command line in bash; `$PETS` runs pets."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=os.environ | {"PETS": f"{sys.executable} -m pets"} | env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("screen", "code", "output"),
    [
        ("| true; exit ${PIPESTATUS[0]}", 141, ""),  # nobody reads, long before there is a line
        (">&- 2>&-", 0, ""),
        (">/dev/full", 1, "standard output: cannot be written (No space left on device)\n"),
    ],
)
def test_a_screen_that_goes_away_takes_no_work_along(
    screen: str, code: int, output: str, trained: Path, drawn: Path, tmp_path: Path
) -> None:
    result = shell(f"$PETS predict run={trained} source={drawn} out=a.csv {screen}", tmp_path)
    assert (result.returncode, result.stderr) == (code, output)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 101


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C"},
    ],
)
def test_names_are_shown_and_written_whatever_the_locale(
    env: dict[str, str], trained: Path, drawn: Path, tmp_path: Path
) -> None:
    photo = next((drawn / "images").iterdir())
    shutil.copy(photo, tmp_path / "猫.jpg")
    result = shell(f"$PETS predict run={trained} source=猫.jpg out=a.csv", tmp_path, **env)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()[1].startswith("猫.jpg,")


def test_no_name_of_a_file_acts_on_the_terminal(trained: Path, drawn: Path, pets: Pets) -> None:
    folder, names = pets.folder / "p", ("\x1b]0;mine\x07.jpg", "new\nline.jpg")
    folder.mkdir()
    for name in names:
        shutil.copy(next((drawn / "images").iterdir()), folder / name)
    (folder / "bad\x1b.jpg").write_bytes(b"none")
    output = pets("predict", f"run={trained}", "source=p", "out=a.csv", code=3)
    shown = output.stdout + output.stderr
    assert "\x1b" not in shown
    assert "\x07" not in shown
    for name in ("p/\\x1b]0;mine\\x07.jpg  ", "p/new\\nline.jpg  ", "skipped: p/bad\\x1b.jpg: "):
        assert name in shown
    assert {Path(str(f)).name for f in pd.read_csv(pets.folder / "a.csv")["file"]} >= {*names}


def test_photos_whose_names_are_no_text_are_named(pets: Pets, drawn: Path) -> None:
    root = pets.folder / "photos"
    for place, photo in enumerate(sorted((drawn / "images").iterdir())[:24]):
        folder = root / ("cat" if place % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder)
    (root / "cat" / os.fsdecode(b"na\xefve.jpg")).write_bytes(photo.read_bytes())
    line = pets.one_line("train", "data=folder", f"data.root={root}", *SMALL)
    assert line.endswith("names that are not UTF-8, rename the files: 'cat/na\\udcefve.jpg'")
    assert not pets.runs()


@pytest.mark.parametrize(
    ("args", "small", "line"),
    [
        (["interpret"], "interpret", "{small}/test: cannot be written ("),
        (["export", "to=safetensors"], "export", "export/safetensors: "),
        (["find-lr", "lr_finder.steps=30"], "lr_finder", "No space left on device; " + ROOM),
        (["eval"], "eval", "No space left on device; " + ROOM),
    ],
)
def test_a_full_disk_is_one_line(
    args: list[str], small: str, line: str, trained: Path, tmp_path: Path
) -> None:
    """The disk is full before the command begins: one block is all it has."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / small).mkdir(exist_ok=True)
    command = ["sh", "-c", f'printf %8000s x >{run / small}/x 2>/dev/null; exec "$@"', "sh", *PETS]
    given = [args[0], f"run={run}", *args[1:]]
    result = on_a_small_disk(run / small, "4k", [*command, *given], cwd=tmp_path)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 1
    assert len(lines) == 1, result.stderr
    assert line.format(small=run / small) in lines[0]
    if args == ["eval"]:
        assert "mean_class_accuracy" in result.stdout  # what was measured is not lost
    assert json.loads((run / "status.json").read_text())["state"] == "finished"


def test_processes_without_shared_memory_end_with_a_line(drawn: Path, tmp_path: Path) -> None:
    args = [w for w in SMALL if "num_workers" not in w]
    command = [*PETS, "train", f"data.root={drawn}", *args, "data.num_workers=1"]
    need(Path("/dev/shm").is_dir(), "no /dev/shm")
    result = on_a_small_disk(Path("/dev/shm"), "64k", command, cwd=tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(
        "loader processes pass photos through /dev/shm, which is full or too small; "
    )
    assert "data.num_workers=0" in line
    assert "; resume with pets train resume=outputs/" in line


def test_a_logger_without_its_package_is_said_before_photos_are_read(
    pets: Pets, drawn: Path
) -> None:
    logger = "+logger.other._target_=pytorch_lightning.loggers.CometLogger"
    line = pets.one_line("train", f"data.root={drawn}", *SMALL, logger)
    assert line.startswith("logger.other")
    assert not pets.runs()
