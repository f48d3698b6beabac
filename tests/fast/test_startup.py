"""Folders for temporary files and caches, whatever the environment says."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pets.cli.startup import folders


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables and the folder of temporary files are put back."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "x")
    monkeypatch.delenv("TMPDIR")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("nonexistent", "cannot be written"),
        ("file", "cannot be written"),
        ("x" * 100, "is too long for the sockets of processes (at most 68 bytes)"),
    ],
)
def test_a_temporary_folder_that_cannot_be_used_is_said(
    given: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # pytest's own may be too long a name
    (short / "file").touch()
    (short / ("x" * 100)).mkdir()
    monkeypatch.setenv("TMPDIR", str(short / given))
    folders()
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
    folders()
    own = next(tmp_path.glob("pets-*"))
    assert own.stat().st_mode & 0o777 == 0o700
    assert os.environ["HOME"] == str(own)
    assert capsys.readouterr().err == (
        f"HOME=/dev/null: cannot be written; caches go to {own}; HOME=<folder> chooses another\n"
    )
    folders()  # the second time there is nothing to say
    assert capsys.readouterr().err == ""


def test_a_home_that_can_be_written_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folders()
    assert os.environ["HOME"] == str(tmp_path)
    assert capsys.readouterr().err == ""
