"""The photos that `source=...` stands for, in an order that is always the same."""

from __future__ import annotations

import codecs
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from itertools import chain
from pathlib import Path, PurePosixPath

from pets.data.discovery import counted
from pets.distributed.ranks import ranks
from pets.errors import DataError
from pets.prediction.filesystems import is_file, is_folder, is_remote, is_special, readable
from pets.prediction.folders import WILDCARDS, match_glob, walk_folder

STDIN = "-"


@dataclass(frozen=True)
class Source:
    """The addresses of photos; iterating walks them anew, one folder in memory at a time.

    Attributes:
        name: for the default name of the table.
        walk: yields the addresses.
        total: how many, where that is known without a walk.
        identity: tells it from other sources of the same name.
        left_out: counts what the last walk skipped, by suffix or by reason.
    """

    name: str
    walk: Callable[[], Iterator[str]]
    total: int | None = None
    identity: str = ""
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[str]:
        self.left_out.clear()
        return self.walk()

    @property
    def left_out_summary(self) -> str:
        """`3 .heic (pip install pillow-heif), 2 .txt`; empty where nothing was left out."""
        return ", ".join(counted(what, n) for what, n in sorted(self.left_out.items()))


def find_source(source: str) -> Source:
    """The photos of a photo, a folder, a zip file, a glob or a list.

    Args:
        source: a photo; a folder or zip file with its sub-folders; a glob; a text file with a path
            or URL a line (relative to the current folder, or to the text file); `-` for such a list
            on standard input. All but lists and zip files may be remote.

    Raises:
        DataError: It is none of these, or holds no photos.
    """
    if source == STDIN:
        return _read_stdin()
    left_out: Counter[str] = Counter()
    identity = source if is_remote(source) else _absolute(source)
    # Folders and files first: their names may contain wildcards.
    if is_folder(source):
        folder = source if is_remote(source) else str(Path(source))
        walk = partial(walk_folder, folder, left_out)
        found = Source(_name(source), walk, None, identity, left_out)
        return _not_empty(found, f"source={source}: no images in this folder")
    if is_file(source):
        suffix = "" if is_remote(source) else Path(source).suffix.lower()
        if suffix == ".txt":
            return _read_list(Path(source))
        if suffix == ".zip":
            inside = f"zip://::{source}"
            if not is_folder(inside):
                raise DataError(f"source={source}: holds no images")
            return replace(find_source(inside), identity=identity)
        return Source(_name(source), lambda: iter([source]), 1, identity)
    if any(sign in _without_chain(source) for sign in WILDCARDS):
        found = Source("photos", partial(match_glob, source, left_out), None, identity, left_out)
        return _not_empty(found, f"source={source}: no file matches")
    if not is_remote(source) and is_special(source):
        raise DataError(
            f"source={source}: is no regular file but a pipe, socket or device; expected a photo, "
            f"folder or list (a list from a pipe: source={STDIN})"
        )
    raise DataError(f"source={source}: no such photo, folder or list")


def _not_empty(source: Source, message: str) -> Source:
    if next(iter(source), None) is None:
        left_out = source.left_out_summary
        raise DataError(f"{message}; left out: {left_out}" if left_out else message)
    return source


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - may be a glob


def _without_chain(source: str) -> str:
    return source.partition("::")[0] if is_remote(source) else source


def _name(source: str) -> str:
    if not is_remote(source):
        path = Path(source).resolve()
        return (path.name if is_folder(source) else path.stem) or "predictions"
    inside, _, outside = source.partition("::")
    remote = PurePosixPath(inside.partition("://")[2])
    name = remote.name if is_folder(source) else remote.stem
    return name or Path(outside).stem or "predictions"


def _read_list(file: Path) -> Source:
    label = f"source={file}"

    def walk() -> Iterator[str]:
        with readable(str(file)), file.open("rb") as stream:
            for line in _lines(stream, label):
                line = os.path.expanduser(line)  # noqa: PTH111
                beside = str(file.parent / line)
                here = Path(line).exists() or (is_remote(line) and not os.path.lexists(beside))
                yield line if here else beside

    with readable(str(file)):
        with file.open("rb") as stream:
            total = sum(1 for _ in _lines(stream, label))
        if not total:
            raise DataError(f"{label}: the list is empty; expected a path a line")
        # The same file with another list is another source.
        digest = blake2b(file.read_bytes(), digest_size=16).hexdigest()
    return Source(file.stem, walk, total, f"{_absolute(str(file))} {digest}")


def _read_stdin() -> Source:
    if ranks().world > 1:
        raise DataError(
            f"source={STDIN}: only one of {ranks().world} processes could read standard input; "
            "write the list to a .txt file"
        )
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError(f"source={STDIN}: expected a list on standard input, a path a line")
    lines = _lines(sys.stdin.buffer, f"source={STDIN}")
    first = next(lines, None)
    if first is None:
        raise DataError(f"source={STDIN}: the list is empty; expected a path a line")
    return Source("stdin", lambda: chain([first], lines))


def _lines(stream: Iterable[bytes], label: str) -> Iterator[str]:
    """The lines that are not empty, as they stand; a file name need not be text."""
    for number, line in enumerate(stream):
        if b"\0" in line:
            raise DataError(
                f"{label}: has NUL bytes; expected a path a line (find without -print0)"
            )
        path = line.rstrip(b"\r\n")
        if number == 0:
            path = path.removeprefix(codecs.BOM_UTF8)
        if path:
            yield os.fsdecode(path)
