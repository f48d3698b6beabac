"""Files and folders replaced in one step: a reader finds the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace the file by its new content in one step: a crash or a full disk leaves the old one.

    Raises OSError when the content cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)  # what lies there may be a link to a file elsewhere
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write to inside the block, in the place of `path` after it; nothing is left of it
    where the block fails."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)  # as above
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def copy_atomically(source: Path, target: Path) -> None:
    """Make `target` the same file as `source` in one step; a link where the disk can do that."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    part.replace(target)


@contextlib.contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` when the block ends; where the block
    raises, `path` is as it was and nothing is left.

    Raises OSError when it cannot be made.
    """
    part, old = (path.with_name(f".{path.name}.{end}") for end in ("part", "old"))
    # What a process that was killed left here: the folder before it, or one that is not whole.
    if old.exists() and not path.exists():
        old.rename(path)
    for left in (part, old):
        if left.exists():
            shutil.rmtree(left)
    made = [folder for folder in part.parents if not folder.exists()]
    part.mkdir(parents=True)
    try:
        yield part
        if path.exists():
            path.rename(old)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        with contextlib.suppress(OSError):  # another process may have put something there
            for folder in made:
                folder.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)
