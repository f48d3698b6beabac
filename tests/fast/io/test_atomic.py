"""Folders that cannot be written are reported before the work starts, full disks by the file."""

import sys
from pathlib import Path

import pytest

from pets.errors import ConfigError
from pets.io.atomic import check_writable, folder_atomically
from tests.conftest import on_a_small_disk


def test_the_check_does_not_create_the_folder(tmp_path: Path) -> None:
    check_writable(tmp_path, tmp_path / "new/deep")
    assert list(tmp_path.iterdir()) == []


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("file", "file/export", "file/a/b"):
        line = rf"^{tmp_path}/{name}: cannot be written \(Not a directory\)"
        with pytest.raises(ConfigError, match=line):
            check_writable(tmp_path / name)


def test_a_read_only_disk(tmp_path: Path) -> None:
    code = "from pathlib import Path; from pets.io.atomic import *; check_writable(Path('a/b'))"
    result = on_a_small_disk(tmp_path, "1m,ro", [sys.executable, "-c", code])
    last = result.stderr.splitlines()[-1]
    assert "ConfigError: a/b: cannot be written (Read-only file system); check its" in last


def test_a_full_disk_is_reported_with_the_file(tmp_path: Path) -> None:
    code = "from pathlib import Path; from pets.io.atomic import *; "
    code += "write_atomically(Path('page.html'), bytes(200_000))"
    result = on_a_small_disk(tmp_path, "64k", [sys.executable, "-c", code])
    last = result.stderr.splitlines()[-1]
    assert last == "OSError: [Errno 28] No space left on device: 'page.html'"
    with (
        pytest.raises(OSError, match=r"No space left.*export"),
        folder_atomically(tmp_path / "export"),
    ):
        raise OSError(28, "No space left on device")
    assert not (tmp_path / "export").exists()
