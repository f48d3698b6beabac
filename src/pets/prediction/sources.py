"""The photos that `source` means, one after the other in an order that is always the same."""

from __future__ import annotations

import codecs
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from hashlib import blake2b
from itertools import chain
from pathlib import Path, PurePosixPath

from pets.data.discovery import counted, left_out_folder
from pets.data.images import SUFFIXES
from pets.distributed.ranks import ranks
from pets.errors import DataError
from pets.prediction.filesystems import Entry, entries, is_file, is_folder, joined, reading, remote

STDIN = "-"
_SIGNS = "*?["
_ANY_DEPTH = "**"


@dataclass(frozen=True)
class Source:
    """The addresses of photos, walked once; `total` where it is known without a walk, a `name` for
    what is made of them, and what tells it from others of that name. `left_out` counts the files of
    the last walk that are no photos, by suffix."""

    name: str
    walk: Callable[[], Iterator[str]]
    total: int | None = None
    identity: str = ""
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[str]:
        self.left_out.clear()
        return self.walk()

    @property
    def left_out_words(self) -> str:
        """`3 .heic (pip install pillow-heif), 2 .txt`."""
        return ", ".join(counted(suffix, n) for suffix, n in sorted(self.left_out.items()))


def find_source(source: str) -> Source:
    """A photo; a folder or zip file with its sub-folders; a glob; a text file with a path or URL a
    line (relative ones from the current folder, or from the text file's); `-` for such a list on
    standard input. A line is a path as it stands. Folders are sorted one at a time, so that a
    million photos are never in memory.

    Raises DataError for a source that is none of these or holds no photos.
    """
    if source == STDIN:
        return _from_stdin()
    # A path may hold a glob's signs itself.
    if is_folder(source):
        folder = source if remote(source) else str(Path(source))
        left_out: Counter[str] = Counter()
        found = Source(
            _name(source), lambda: _below(folder, left_out), None, _whole(source), left_out
        )
        return _not_empty(found, f"source={source}: no images in this folder")
    if is_file(source):
        if source.lower().endswith(".txt") and not remote(source):
            return _from_list(Path(source))
        if source.lower().endswith(".zip") and not remote(source):
            inside = f"zip://::{source}"
            if not is_folder(inside):
                raise DataError(f"source={source}: holds no images")
            return replace(find_source(inside), identity=_whole(source))
        return Source(_name(source), lambda: iter([source]), 1, _whole(source))
    if any(sign in _split(source)[0] for sign in _SIGNS):
        found = Source("photos", lambda: _matching(source), None, _whole(source))
        return _not_empty(found, f"source={source}: no file matches")
    raise DataError(f"source={source}: no such photo, folder or list")


def _not_empty(source: Source, words: str) -> Source:
    if next(iter(source), None) is None:
        left_out = source.left_out_words
        raise DataError(f"{words}; left out: {left_out}" if left_out else words)
    return source


def _split(address: str) -> tuple[str, str, str]:
    """What fsspec reads, `::`, and what that lies in; a local name may have such signs itself."""
    return address.partition("::") if remote(address) else (address, "", "")


def _whole(source: str) -> str:
    """A source as it is called from any folder."""
    return source if remote(source) else os.path.abspath(source)  # noqa: PTH100 - may be a glob


def _name(source: str) -> str:
    inside, inner, outside = _split(source)
    path = PurePosixPath(inside.partition("://")[2]) if remote(source) else Path(source).resolve()
    name = path.name if is_folder(source) else path.stem
    return name or (Path(outside).stem if inner else "") or "predictions"


def _inside(folder: str) -> Iterator[Entry | None]:
    """What lies in a folder inside the source; None where it cannot be read: then the folder itself
    stands for its photos, so that they are not missed in silence."""
    try:
        yield from entries(folder)
    except DataError:
        yield None


class _Links:
    """Which links to folders are followed: those that lead to what is not walked without them."""

    def __init__(self, root: str) -> None:
        self._walked = [os.path.realpath(root)]

    def leads_on(self, link: str) -> bool:
        target = os.path.realpath(link)
        new = all(os.path.commonpath((target, one)) not in (target, one) for one in self._walked)
        if new:
            self._walked.append(target)
        return new


def _below(
    folder: str,
    left_out: Counter[str],
    found: Iterable[Entry | None] | None = None,
    links: _Links | None = None,
) -> Iterator[str]:
    links = links or _Links(folder)
    for entry in entries(folder) if found is None else found:
        suffix = "" if entry is None else PurePosixPath(entry.name).suffix.lower()
        if entry is None:
            yield folder
        elif entry.folder:
            inner = joined(folder, entry.name)
            if entry.link and not links.leads_on(inner):
                continue
            inside = list(_inside(inner))
            if not left_out_folder(entry.name, {e.name for e in inside if e is not None}):
                yield from _below(inner, left_out, inside, links)
        elif suffix in SUFFIXES and not entry.name.startswith("._"):  # what a Mac adds
            yield joined(folder, entry.name)
        elif not entry.name.startswith("."):
            left_out[suffix] += 1


def _matching(glob: str) -> Iterator[str]:
    """Files that match, each once; `**` stands for any number of folders, hidden ones and links
    left out. A name that begins with a point is matched by patterns alone that do, too."""
    head, inner, rest = _split(glob)
    scheme, at, path = head.rpartition("://") if remote(glob) else ("", "", glob)
    names = path.split("/")
    first = next(i for i, name in enumerate(names) if any(sign in name for sign in _SIGNS))
    # A folder may hold a glob's signs in its own name: photos [2021]/*.jpg
    while not remote(glob) and first + 1 < len(names) and is_folder("/".join(names[: first + 1])):
        first += 1
    start = "/".join(names[:first]) or ("/" if path.startswith("/") and not at else "")
    folder = f"{scheme}{at}{start}{inner}{rest}"
    if remote(glob) or not start or is_folder(folder):
        yield from _walk(folder, names[first:], _closed(names[first:], {0}))


def _walk(
    folder: str,
    parts: list[str],
    places: set[int],
    found: Iterable[Entry | None] | None = None,
) -> Iterator[str]:
    for entry in entries(folder) if found is None else found:
        if entry is None:
            yield folder
            continue
        below = _after(parts, places, entry)
        if entry.folder and below:
            inner = joined(folder, entry.name)
            yield from _walk(inner, parts, below, _inside(inner))
        elif len(parts) in below:
            yield joined(folder, entry.name)


def _after(parts: list[str], places: set[int], entry: Entry) -> set[int]:
    """How many of a pattern's parts may be behind us after this entry, from how many were before
    it: all possibilities at once, so that no file comes twice."""
    found = set()
    for place in places - {len(parts)}:
        if parts[place] == _ANY_DEPTH:
            if not entry.link and not entry.name.startswith("."):
                found.add(place)
        elif fnmatch(entry.name, parts[place]) and (
            not entry.name.startswith(".") or parts[place].startswith(".")
        ):
            found.add(place + 1)
    return _closed(parts, found)


def _closed(parts: list[str], places: Iterable[int]) -> set[int]:
    """With those that are reached by letting `**` stand for no folder at all."""
    found = set()
    for place in places:
        found.add(place)
        while place < len(parts) and parts[place] == _ANY_DEPTH:
            place += 1
            found.add(place)
    return found


def _from_list(file: Path) -> Source:
    def walk() -> Iterator[str]:
        with reading(str(file)), file.open("rb") as stream:
            for line in _lines(stream, f"source={file}"):
                line = os.path.expanduser(line)  # noqa: PTH111
                beside = str(file.parent / line)
                here = Path(line).exists() or (remote(line) and not os.path.lexists(beside))
                yield line if here else beside

    with reading(str(file)), file.open("rb") as stream:
        total = sum(1 for _ in _lines(stream, f"source={file}"))
    if not total:
        raise DataError(f"source={file}: the list is empty; expected a path a line")
    # Another list in the same file is about other photos.
    identity = f"{_whole(str(file))} {blake2b(file.read_bytes(), digest_size=16).hexdigest()}"
    return Source(file.stem, walk, total, identity)


def _from_stdin() -> Source:
    if ranks().world > 1:
        raise DataError(
            f"source={STDIN}: of {ranks().world} processes one alone could read standard input; "
            "write the list to a .txt file"
        )
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError(f"source={STDIN}: expected a list on standard input, a path a line")
    lines = _lines(sys.stdin.buffer, f"source={STDIN}")
    first = next(lines, None)
    if first is None:
        raise DataError(f"source={STDIN}: the list is empty; expected a path a line")
    return Source("stdin", lambda: chain([first], lines))


def _lines(stream: Iterable[bytes], said: str) -> Iterator[str]:
    for number, line in enumerate(stream):
        if b"\0" in line:
            raise DataError(f"{said}: has NUL bytes; expected a path a line (find without -print0)")
        path = line.rstrip(b"\r\n")
        if number == 0:
            path = path.removeprefix(codecs.BOM_UTF8)
        if path:
            yield os.fsdecode(path)  # a name need not be text
