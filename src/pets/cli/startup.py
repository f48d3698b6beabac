"""Prepare the process before libraries load: UTF-8 file names, standard output, cache folders."""

from __future__ import annotations

import atexit
import contextlib
import errno
import getpass
import io
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from pets.errors import ConfigError, printable

# Names of sockets have 107 bytes, on macOS 103; multiprocessing and torch add up to 34 to this.
_LONGEST = 68

# Cache folders of libraries: their environment variables and defaults.
_CACHES = {
    "PETS_CACHE": "~/.cache/pets",
    "TORCH_HOME": "~/.cache/torch",
    "HF_HOME": "~/.cache/huggingface",
    "MPLCONFIGDIR": "~/.config/matplotlib",
    "TRITON_CACHE_DIR": "~/.triton/cache",
}


class _Screen(io.FileIO):
    """Standard output or error; after a closed pipe the output is dropped and the work goes on."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            if self.lost is None:
                return super().write(data)
        except OSError as error:
            self.lost = error
        return memoryview(data).nbytes


class Screen(logging.Formatter):
    """Lines of the log for a screen: see `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextlib.contextmanager
def screen() -> Iterator[None]:
    """Inside the block, unprintable characters and a closed pipe do not end the work.

    Raises:
        SystemExit: After the block, if the output could not be written: 141, the shell's code for a
            closed pipe, or 1 with a message.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by the shell; else the next opened file would get its number
            os.open(os.devnull, os.O_RDWR)
    screens = [_screen(1, sys.stdout), _screen(2, sys.stderr)]
    sys.stdout, sys.stderr = (stream for stream, _ in screens)
    yield
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    lost = screens[0][1].lost if screens[0][1] else None
    if lost is None:
        return
    if lost.errno == errno.EPIPE:
        raise SystemExit(141)
    print(f"standard output: cannot be written ({lost.strerror})", file=sys.stderr)
    raise SystemExit(1)


def _screen(number: int, stream: TextIO | None) -> tuple[TextIO, _Screen | None]:
    """Wrap a stream in a `_Screen`; streams that are not that file, as in tests, are unchanged."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if stream is not None and (type(raw) is not io.FileIO or raw.fileno() != number):
        return stream, None
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.flush()
    made = _Screen(number, "w", closefd=False)
    text = io.TextIOWrapper(
        io.BufferedWriter(made),
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",  # characters that the screen lacks
        line_buffering=True,
    )
    return text, made


def names_in_utf8() -> None:
    """Restart in Python's UTF-8 mode if the locale decodes file names differently."""
    if sys.getfilesystemencoding().lower() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def folders() -> None:
    """Move temporary files and caches to writable folders, with a message if they are moved.

    Raises:
        ConfigError: No folder for temporary files can be written.
    """
    _temporary()
    _caches()


def _temporary() -> None:
    asked = os.environ.get("TMPDIR")
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ConfigError(
            "no folder for temporary files can be written; expected one as TMPDIR=<folder>"
        ) from error
    if asked and not (Path(asked).is_dir() and Path(folder).samefile(asked)):
        _say(f"TMPDIR={asked}: cannot be written; temporary files go to {folder}")
        os.environ["TMPDIR"] = folder
    if len(os.fsencode(folder)) <= _LONGEST:
        return
    # Names of sockets are limited: a short link to the folder is used instead.
    for parent in ("/tmp", "/var/tmp", "/dev/shm"):
        short = f"{parent}/pets-{secrets.token_hex(4)}"
        try:
            Path(short).symlink_to(Path(folder).resolve())
        except OSError:
            continue
        atexit.register(_remove, short, os.getpid())
        os.environ["TMPDIR"] = tempfile.tempdir = short
        return
    raise ConfigError(
        f"TMPDIR={folder}: is too long for the sockets of processes; expected at most "
        f"{_LONGEST} bytes"
    )


def _remove(link: str, process: int) -> None:
    if os.getpid() == process:
        with contextlib.suppress(OSError):
            Path(link).unlink()


def _caches() -> None:
    with contextlib.suppress(ImportError):
        import pwd

        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            # torch needs a user name, and this user has none.
            os.environ.setdefault("LOGNAME", os.environ.get("USER") or f"user{os.getuid()}")
    moved = {
        name: name.partition("_")[0].lower()
        for name, default in _CACHES.items()
        if name not in os.environ and not _usable(os.path.expanduser(default))  # noqa: PTH111
    }
    if not moved:
        return
    mine = Path(tempfile.gettempdir()) / f"pets-{getpass.getuser()}"
    with contextlib.suppress(FileExistsError):
        mine.mkdir(mode=0o700)
    if mine.is_symlink() or mine.stat().st_uid != os.getuid():
        mine = Path(tempfile.mkdtemp(prefix="pets-"))
    for name, folder in moved.items():
        os.environ[name] = str(mine / folder)
    home = os.environ.get("HOME") or "none"
    _say(
        f"the home folder ({home}) cannot be written; caches go to {mine}; "
        f"{', '.join(f'{name}=...' for name in moved)} choose other folders"
    )


def _usable(folder: str) -> bool:
    """Whether files can be written to a folder, which need not exist yet."""
    path = Path(folder)
    if not path.is_absolute():  # `~` without a home folder
        return False
    while not os.path.lexists(path):
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _say(message: str) -> None:
    if os.environ.get("RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0":
        print(message, file=sys.stderr)
