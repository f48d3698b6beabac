"""File names in UTF-8, folders for temporary files and caches, for any environment variables."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pets.cli import startup
from pets.cli.startup import redirect_unwritable_caches


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restores the variables and the folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("TMPDIR", *startup._CACHES):
        monkeypatch.setenv(name, os.environ.get(name, "x"))
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("nonexistent", "cannot be written"),
        ("file", "cannot be written"),
        ("x" * 100, "is too long for Unix sockets (at most 68 bytes)"),
    ],
)
def test_an_unusable_temporary_folder_is_reported(
    given: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # pytest's own may be too long a name
    (short / "file").touch()
    (short / ("x" * 100)).mkdir()
    monkeypatch.setenv("TMPDIR", str(short / given))
    redirect_unwritable_caches()
    folder = tempfile.gettempdir()
    line = f"TMPDIR={short / given}: {reason}; temporary files go to {folder}\n"
    assert capsys.readouterr().err.startswith(line)
    assert os.environ["TMPDIR"] == folder


def test_caches_go_to_a_temporary_folder_without_a_home(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # pytest's own may be too long a name
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("HF_HOME", "/given")
    redirect_unwritable_caches()
    mine = next(tmp_path.glob("pets-*"))
    assert mine.stat().st_mode & 0o777 == 0o700
    assert {name: os.environ[name] for name in startup._CACHES} == {
        "PETS_CACHE": f"{mine}/pets", "TORCH_HOME": f"{mine}/torch", "HF_HOME": "/given",
        "MPLCONFIGDIR": f"{mine}/matplotlib", "TRITON_CACHE_DIR": f"{mine}/triton",
    }  # fmt: skip
    assert capsys.readouterr().err == (
        f"the home folder (/dev/null) cannot be written; caches go to {mine}; PETS_CACHE=..., "
        "TORCH_HOME=..., MPLCONFIGDIR=..., TRITON_CACHE_DIR=... choose other folders\n"
    )
    redirect_unwritable_caches()  # the second time nothing is reported
    assert capsys.readouterr().err == ""


def test_a_home_that_can_be_written_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    redirect_unwritable_caches()
    assert not set(startup._CACHES) & set(os.environ)
    assert capsys.readouterr().err == ""


def test_file_names_are_utf8_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / "猫.txt").touch()
    code = (
        "import os, sys; from pets.cli.startup import restart_in_utf8; restart_in_utf8(); "
        "print(ascii(os.listdir(sys.argv[1])), ascii(sys.argv[2]))"
    )
    c_locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path, "Épagneul"], env=os.environ | c_locale, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert result.stdout == "['\\u732b.txt'] '\\xc9pagneul'\n"
