"""Errors of the operating system are one line, whichever library reports them."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from pets.system.os_errors import system_error
from tests.conftest import on_a_small_disk

FULL = "No space left on device"
ROOM = "make room, then run the command again"


# Written on a disk of 64 KB; a line for each library, or that there was no error.
WRITE_TOO_MUCH = """
import os, sqlite3, zipfile
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, torch
from pathlib import Path
from PIL import Image
from safetensors.torch import save_file
from pets.system.os_errors import system_error

def in_sqlite():
    with sqlite3.connect("x") as table:
        table.execute("CREATE TABLE a (b)")
        table.executemany("INSERT INTO a VALUES (?)", [("x" * 1000,)] * 200)

def in_zip():
    with zipfile.ZipFile("x", "w") as archive:
        archive.writestr("a", noise.tobytes())

noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
tensor = torch.from_numpy(noise)
for name, write in {
    "torch": lambda: torch.save({"x": tensor}, "x"),
    "arrow": lambda: pq.write_table(pa.table({"x": noise.ravel()}), "x"),
    "safetensors": lambda: save_file({"x": tensor}, "x"),
    "text": lambda: Path("x").write_text("x" * 200_000),
    "pillow": lambda: Image.fromarray(noise).save("x.png"),
    "numpy": lambda: np.save("x.npy", noise),
    "sqlite": in_sqlite,
    "zip": in_zip,
}.items():
    try:
        write()
    except Exception as error:
        print(name, "|", system_error(error))
    else:
        print(name, "| no error")
    for file in Path().iterdir():
        file.unlink()
"""


def test_a_full_disk_is_recognised_in_every_librarys_error(tmp_path: Path) -> None:
    result = on_a_small_disk(tmp_path, "64k", [sys.executable, "-c", WRITE_TOO_MUCH])
    lines = dict(line.split(" | ") for line in result.stdout.splitlines())
    names = {"torch", "arrow", "safetensors", "text", "pillow", "numpy", "sqlite", "zip"}
    assert lines.keys() == names, result.stderr
    for line in lines.values():
        assert line.endswith(ROOM)
        assert line.removesuffix(ROOM).lower().rpartition(": ")[2] in (
            "no space left on device; ", "disk full; ",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, FULL, "/data/a.csv"), f"/data/a.csv: {FULL}; {ROOM}"),
        (OSError(errno.ENOSPC, FULL), f"{FULL}; {ROOM}"),
        (FileExistsError(errno.EEXIST, "File exists", "runs"),
         "runs: File exists; expected a folder, or a name that is not taken"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"),
         "x: File name too long; expected a shorter name"),
        (OSError(errno.EMFILE, "Too many open files", "x"),
         "x: Too many open files; raise the limit (ulimit -n 4096), or fewer data.num_workers"),
        (PermissionError(errno.EACCES, "Permission denied", b"/run/a"),
         "/run/a: Permission denied; expected a file or folder that this user may use, on a disk "
         "that can be written"),
        (OSError("Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent "
                 "call last):\n  File x\nOSError: image file is truncated"),
         "image file is truncated"),
        (sqlite3.OperationalError("database or disk is full"), f"disk full; {ROOM}"),
        (MemoryError(), "not enough memory; a smaller data.batch_size, or fewer data.num_workers"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"),
         "not enough memory; a smaller data.batch_size, or fewer data.num_workers"),
    ],
)  # fmt: skip
def test_the_line_names_file_reason_and_fix(error: BaseException, line: str) -> None:
    assert system_error(error) == line


@pytest.mark.parametrize(
    "args",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your shared memory "
        "limit.",
        "unable to write to file </torch_123_456_0>: No space left on device (28)",
        "unable to mmap 12 bytes from file </torch_1_2>: Cannot allocate memory (12)",
    ],
)
def test_full_shared_memory_is_distinguished_from_a_full_disk(args: str) -> None:
    line = system_error(RuntimeError(args))
    assert line is not None
    assert line.startswith(
        "loader processes pass photos through /dev/shm, which is full or too small; "
    )


def test_a_name_that_is_not_utf8_is_reported() -> None:
    name = os.fsdecode(b"cats/na\xefve.jpg")
    with pytest.raises(UnicodeEncodeError) as raised:
        f'a.jpg,cat\n"{name}",cat\n'.encode()
    assert system_error(raised.value) == (
        r"cats/na\xefve.jpg: the name is not UTF-8; rename the file or folder, e.g. with convmv"
    )


def test_bugs_are_not_system_errors() -> None:
    assert system_error(RuntimeError("shapes cannot be multiplied")) is None
    assert system_error(KeyError("train_loss")) is None
