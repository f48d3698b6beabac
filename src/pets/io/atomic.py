"""Replace files and folders atomically, and read only regular files.

Readers see the old or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pets.errors import ConfigError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write to; it replaces `path` after the block, unless that fails.

    After a crash or on a full disk the old file is still there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)  # it may be a link to a file elsewhere
        yield part
        to_disk(part)
        part.replace(path)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk (fsync). Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def regular(file: Path) -> Path:
    """Return the file, to be opened. Raises OSError unless it is a regular file.

    Whoever reads a pipe or a device might wait for ever.
    """
    if file.exists() and not file.is_file() and not file.is_dir():
        raise OSError("a pipe or a device; expected a regular file")
    return file


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace a file's content. Raises OSError if it cannot be written."""
    with replacing(path) as part, part.open("xb") as stream:
        stream.write(content)


def copy_atomically(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`, as a hard link if the disk supports it."""
    with replacing(target) as part:
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)


@contextlib.contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `path` after the block, unless that fails.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    missing = [folder for folder in path.parents if not folder.exists()]
    shutil.rmtree(part, ignore_errors=True)  # of a killed process
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(path)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):  # one that is not empty stays
            for folder in missing:
                folder.rmdir()


def _name(error: OSError, path: Path) -> None:
    """Let an error name what was being written: that of a write on a full disk names nothing."""
    if error.errno is not None and error.filename is None:
        error.filename = str(path)


def check_writable(*folders: Path) -> None:
    """Check, before long work, that files can be written to folders, which may not exist yet.

    Raises:
        ConfigError: A folder, or its nearest existing parent, is not writable.
    """
    for folder in folders:
        try:
            nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(
                f"{folder}: cannot be written ({reason}); check its permissions"
            ) from error
