"""Folders for temporary files and caches, whatever the environment says."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pets.cli import startup
from pets.cli.startup import folders
from pets.errors import ConfigError


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables and the folder of temporary files are put back."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("TMPDIR", *startup._CACHES):
        monkeypatch.setenv(name, os.environ.get(name, "x"))
        monkeypatch.delenv(name)


def test_a_long_temporary_folder_gets_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets made there must have names of less than 108 bytes; files stay where they were asked
    for."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    code = (
        "from pets.cli.startup import folders; folders();"
        "import os, tempfile, multiprocessing.connection as c;"
        "listener = c.Listener(family='AF_UNIX'); listener.close();"
        "print(tempfile.gettempdir(), tempfile.mkstemp()[1], os.environ['TMPDIR'])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    short, file, told = found.stdout.split()
    assert len(short) <= startup._LONGEST
    assert told == short
    assert (long / Path(file).name).exists()
    assert not os.path.lexists(short)  # gone with the process


def test_where_no_short_name_can_be_had_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(ConfigError, match=f"^TMPDIR={long}: is too long for .* at most 68"):
        folders()


@pytest.mark.parametrize("given", ["/nonexistent", "file"])
def test_a_temporary_folder_that_is_none_is_said(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / given))
    folders()
    folder = tempfile.gettempdir()
    line = f"TMPDIR={tmp_path / given}: cannot be written; temporary files go to {folder}\n"
    assert capsys.readouterr().err.startswith(line)
    assert os.environ["TMPDIR"] == folder


def test_caches_go_to_a_temporary_folder_without_a_home(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # pytest's own may be too long a name
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("HF_HOME", "/given")
    folders()
    mine = next(tmp_path.glob("pets-*"))
    assert mine.stat().st_mode & 0o777 == 0o700
    assert {name: os.environ[name] for name in startup._CACHES} == {
        "PETS_CACHE": f"{mine}/pets", "TORCH_HOME": f"{mine}/torch", "HF_HOME": "/given",
        "MPLCONFIGDIR": f"{mine}/mplconfigdir", "TRITON_CACHE_DIR": f"{mine}/triton",
    }  # fmt: skip
    assert capsys.readouterr().err == (
        f"the home folder (/dev/null) cannot be written; caches go to {mine}; PETS_CACHE=..., "
        "TORCH_HOME=..., MPLCONFIGDIR=..., TRITON_CACHE_DIR=... choose other folders\n"
    )
    folders()  # the second time there is nothing to say
    assert capsys.readouterr().err == ""


def test_a_home_that_can_be_written_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folders()
    assert not set(startup._CACHES) & set(os.environ)
    assert capsys.readouterr().err == ""
