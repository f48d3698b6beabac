"""Prepare the process before libraries load: UTF-8, standard output, temporary files, caches."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from pets.errors import ConfigError, printable
from pets.io.atomic import check_writable

# Unix socket paths are limited to 107 bytes (103 on macOS); multiprocessing and torch append up
# to 34.
_LONGEST = 68


# Environment variables for cache folders, and the names of the folders that replace them.
_CACHES = {
    "PETS_CACHE": "pets",
    "TORCH_HOME": "torch",
    "HF_HOME": "huggingface",
    "MPLCONFIGDIR": "matplotlib",
    "TRITON_CACHE_DIR": "triton",
}


class _Output(io.FileIO):
    """Standard output or error; once the pipe is closed, output is dropped without an error."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            if self.lost is None:
                return super().write(data)
        except OSError as error:
            self.lost = error
        return memoryview(data).nbytes


class Screen(logging.Formatter):
    """Log messages for a terminal, with control characters escaped (see `printable`)."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def restart_in_utf8() -> None:
    """Restart in Python's UTF-8 mode if the locale would decode file names differently."""
    if sys.getfilesystemencoding().lower() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextlib.contextmanager
def safe_stdio() -> Iterator[None]:
    """Inside the block, unprintable characters and a closed pipe raise no error.

    Raises:
        SystemExit: After the block, if the output could not be written: 141, the shell's code for a
            closed pipe, or 1 with a message.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by the shell; otherwise the next opened file would get its number
            os.open(os.devnull, os.O_RDWR)
    output, sys.stdout = _opened(1, sys.stdout)
    _, sys.stderr = _opened(2, sys.stderr)
    yield
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if output.lost is None:
        return
    if output.lost.errno == errno.EPIPE:
        raise SystemExit(141)
    raise SystemExit(f"standard output: cannot be written ({output.lost.strerror})")


def _opened(number: int, before: TextIO | None) -> tuple[_Output, TextIO]:
    if before is not None:
        with contextlib.suppress(OSError):
            before.flush()
    output = _Output(number, "w", closefd=False)
    text = io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",  # for characters that the terminal cannot show
        line_buffering=True,
    )
    return output, text


def redirect_unwritable_caches() -> None:
    """Point environment variables of temporary files and caches to writable folders.

    A change is reported on standard error.

    Raises:
        ConfigError: No folder for temporary files can be written.
    """
    asked = os.environ.get("TMPDIR", "")
    reason = "cannot be written"
    if len(os.fsencode(asked)) > _LONGEST:
        reason = f"is too long for Unix sockets (at most {_LONGEST} bytes)"
        del os.environ["TMPDIR"]
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ConfigError(
            "no folder for temporary files can be written; expected one as TMPDIR=<folder>"
        ) from error
    if asked and folder != str(Path(asked).absolute()):
        _report(f"TMPDIR={asked}: {reason}; temporary files go to {folder}")
        os.environ["TMPDIR"] = folder

    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - it stays `~` if there is none
    moved = [name for name in _CACHES if name not in os.environ]
    if not moved or (home.is_absolute() and _usable(home / ".cache")):
        return
    own = Path(folder) / f"pets-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=0o700)
    if own.is_symlink() or own.stat().st_uid != os.getuid():
        own = Path(tempfile.mkdtemp(prefix="pets-"))
    os.environ |= {name: str(own / _CACHES[name]) for name in moved}
    _report(
        f"the home folder ({home}) cannot be written; caches go to {own}; "
        f"{', '.join(f'{name}=...' for name in moved)} choose other folders"
    )


def find_own_modules(args: Sequence[str]) -> None:
    """Let modules in the folder of `--config-dir` be imported, here and in the processes of jobs.

    It comes last, so that its modules hide no others. Raises ConfigError if there is no folder.
    """
    for arg, after in zip(args, [*args[1:], ""], strict=False):
        flag, equals, value = arg.partition("=")
        if flag not in ("--config-dir", "-cd"):
            continue
        folder = value if equals else after
        if not Path(folder).is_dir():
            raise ConfigError(f"{flag} {folder}: no such folder")
        path = str(Path(folder).absolute())
        if path not in sys.path:
            sys.path.append(path)
            inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
            os.environ["PYTHONPATH"] = os.pathsep.join([*inherited, path])


def _usable(folder: Path) -> bool:
    try:
        check_writable(folder)
    except ConfigError:
        return False
    return True


def _report(message: str) -> None:
    if os.environ.get("RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0":
        print(message, file=sys.stderr)
