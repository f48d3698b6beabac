"""Errors of the operating system as one line: the file, the reason and the fix."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path

_ROOM = "make room, then run the command again"
_SHARED = (
    "loader processes pass photos through /dev/shm, which is full or too small; use "
    "data.num_workers=0, or make it larger (docker run --shm-size=2g)"
)
_OTHER_FOLDER = "expected a file or folder that this user may use, on a disk that can be written"
_NEW_FOLDER = "expected a folder, or a name that is not taken"
_FIXES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "expected a disk that allows files of that size (ulimit -f)",
    errno.EACCES: _OTHER_FOLDER,
    errno.EPERM: _OTHER_FOLDER,
    errno.EROFS: _OTHER_FOLDER,
    errno.EEXIST: _NEW_FOLDER,
    errno.ENOTDIR: _NEW_FOLDER,
    errno.ENAMETOOLONG: "expected a shorter name",
    errno.EMFILE: "raise the limit (ulimit -n 4096), or fewer data.num_workers",
    errno.ENFILE: "the machine has too many open files; fewer data.num_workers",
    errno.ENOMEM: "a smaller data.batch_size, or fewer data.num_workers",
    errno.EAGAIN: "the machine gives no more processes (ulimit -u); fewer data.num_workers",
    errno.EIO: "the disk or its connection failed",
    errno.ESTALE: "the disk or its connection failed",
}
# The same errors as libraries report them: a pattern of the message, and our line.
_PATTERNS = (
    (r"bus error|shared memory|/torch_\d+|torch_shm|shm_open", _SHARED),
    (r"DataLoader worker .*(exited unexpectedly|killed by signal)",
     "a loader process was killed, perhaps for lack of memory; use fewer data.num_workers"),
    (r"no space left|disk is full|unexpected pos \d+ vs|requested and \d+ written",
     f"disk full; {_ROOM}"),
    (r"too many open files", f"too many open files; {_FIXES[errno.EMFILE]}"),
    (r"unable to open database file|readonly database|disk I/O error", _OTHER_FOLDER),
    (r"CUDA out of memory|can't allocate memory|Cannot allocate memory",
     f"not enough memory; {_FIXES[errno.ENOMEM]}"),
)  # fmt: skip


def system_error(error: BaseException) -> str | None:
    """Return one line for an error of the operating system, also from libraries; else None."""
    if isinstance(error, UnicodeEncodeError):
        return _not_text(error)
    if isinstance(error, MemoryError):
        return f"not enough memory; {_FIXES[errno.ENOMEM]}"
    if isinstance(error, OSError) and error.errno is not None:
        return _numbered(error, error.errno)
    if isinstance(error, OSError):  # errors of a loader process have only the text
        return _by_message(error) or _last_line(error)
    if isinstance(error, sqlite3.Error | RuntimeError) or type(error).__name__ == "SafetensorError":
        return _by_message(error)
    return None


def _numbered(error: OSError, number: int) -> str:
    reason = error.strerror or _last_line(error)
    file = error.filename
    where = _full_disk() if number in (errno.ENOSPC, errno.EDQUOT) else ""
    if isinstance(file, str | bytes | os.PathLike):
        where = f"{os.fsdecode(file)}: "
    if ". Detail:" in reason:  # Arrow appends its own description
        reason = os.strerror(number)
    reason = re.sub(r"\[Errno \d+\] ", "", reason)
    fix = _SHARED if where.startswith("/dev/shm") else _FIXES.get(number)
    return f"{where}{reason}{f'; {fix}' if fix else ''}"


def _not_text(error: UnicodeEncodeError) -> str:
    """A file name that is not UTF-8 cannot be written to a text file."""
    before = re.split(r"[\0\n,\"]", error.object[: error.start])[-1]
    after = re.split(r"[\0\n,\"]", error.object[error.start :])[0]
    name = (before + after).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return f"{name}: the name is not UTF-8; rename the file or folder, e.g. with convmv"


def _by_message(error: BaseException) -> str | None:
    text = " ".join(str(error).split())
    for pattern, line in _PATTERNS:
        if re.search(pattern, text, re.IGNORECASE):
            return f"{_full_disk() if 'disk full' in line else ''}{line}"
    return None


def _full_disk() -> str:
    """The first folder of this process whose disk is full."""
    for folder in (str(Path.cwd()), tempfile.gettempdir(), os.environ.get("PETS_CACHE", "")):
        if Path(folder).is_dir() and shutil.disk_usage(folder).free < 1 << 20:
            return f"{folder}: "
    return ""


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return re.sub(r"^\w+: ", "", lines[-1].strip()) if lines else "the system refused"
