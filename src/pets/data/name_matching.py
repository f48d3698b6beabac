"""Match the names in lists and tables to photos."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pets.errors import DataError

_COLUMNS = 6  # after a name in a list, at most


def normal(name: str, root: Path) -> str:
    """Normalise a path: relative to `root`, forward slashes, no `.`, `..` or `//`.

    Absolute paths below `root` become relative. Accents are composed or decomposed as in the name
    of the existing file.
    """
    if "\\" in name and not os.path.lexists(root / name):
        name = name.replace("\\", "/")
    if posixpath.isabs(name):
        for whole in (os.path.abspath(root), os.path.realpath(root)):  # noqa: PTH100
            if name.startswith(whole.rstrip("/") + "/"):
                name = name.removeprefix(whole).lstrip("/")
                break
    name = posixpath.normpath(name)
    if not name.isascii() and not os.path.lexists(root / name):
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, name)
            if os.path.lexists(root / other):
                return other
    return name


def outside(path: str) -> bool:
    """Whether a path from `normal` leads out of the root."""
    return path.startswith(("/", "../")) or path == ".."


def twice(paths: Iterable[str], root: Path) -> list[tuple[int, int]]:
    """Find files that are named twice.

    On disks that ignore letters' case, paths may differ in it.

    Args:
        paths: as `normal` returns them.
        root: what they are relative to.

    Returns:
        Pairs of indices (first, later) of the same file.
    """
    first: dict[str, int] = {}
    by_letters: dict[str, tuple[int, str]] = {}
    pairs = []
    for index, path in enumerate(paths):
        known = first.setdefault(path, index)
        if known == index:
            known, other = by_letters.setdefault(path.casefold(), (index, path))
            if other != path and not _same_file(root / other, root / path):
                continue
        if known != index:
            pairs.append((known, index))
    return pairs


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


class PhotoNames:
    """Photos (paths relative to root) by every name that a list may use.

    Tried in this order: the path relative to the folder `images` or to the root; the path without
    suffix; the bare name, with or without suffix, of a photo in any folder.
    """

    def __init__(self, paths: Iterable[str], images: str = ".") -> None:
        self._whole: dict[str, list[str]] = defaultdict(list)
        self._without_suffix: dict[str, list[str]] = defaultdict(list)
        self._bare: dict[str, list[str]] = defaultdict(list)
        self._stems: dict[str, list[str]] = defaultdict(list)
        prefix = "" if images == "." else f"{posixpath.normpath(images)}/"
        for path in paths:
            spelled = unicodedata.normalize("NFC", path)
            for known in {spelled, spelled.removeprefix(prefix)}:
                self._whole[known].append(path)
                self._without_suffix[known.rpartition(".")[0] or known].append(path)
            name = spelled.rpartition("/")[2]
            self._bare[name].append(path)
            self._stems[name.rpartition(".")[0] or name].append(path)

    def find(self, name: str) -> list[str]:
        """Return the photos that a name may mean; several if it is ambiguous."""
        name = posixpath.normpath(name.replace("\\", "/"))
        spelled = unicodedata.normalize("NFC", name)
        levels = [self._whole, self._without_suffix]
        if "/" not in spelled:
            levels += [self._bare, self._stems]
        for level in levels:
            if photos := level.get(spelled, []):
                return [path for path in photos if path == name] or photos
        return []


@dataclass
class Listed:
    """The names of a list: matched to a photo, missing, or ambiguous (`doubtful`)."""

    photos: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    doubtful: dict[str, list[str]] = field(default_factory=dict)


def read_list(file: Path, names: PhotoNames) -> Listed:
    """Read a list of photos: one name a line, perhaps followed by columns; `#` starts a comment.

    Names may contain blanks. Of all ways to separate names from columns, the one that matches most
    photos is taken.

    Raises:
        DataError: The file is empty or not UTF-8 text.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            lines = [line.strip() for line in stream]
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text; save it as UTF-8, a photo a line") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    lines = [line for line in lines if line and not (line[0] == "#" and not names.find(line))]
    if not lines:
        raise DataError(f"{file}: names no photo; expected a photo a line")
    read = []
    for way in _ways(lines):
        read.append(_listed(map(way, lines), names))
        if not (read[-1].missing or read[-1].doubtful):
            return read[-1]
    return max(read, key=lambda listed: (len(set(listed.photos.values())), len(listed.doubtful)))


def _ways(lines: list[str]) -> Iterable[Callable[[str], str]]:
    """Ways to cut the name from a line: all of it, without the last columns, the first word or
    field."""
    most = max((len(line.split()) for line in lines), default=1)
    yield str
    for columns in range(1, min(most, _COLUMNS + 1)):
        yield lambda line, columns=columns: line.rsplit(None, columns)[0]  # type: ignore[misc]
    yield lambda line: line.split()[0]
    for separator in "\t,;":
        yield lambda line, separator=separator: line.split(separator)[0].strip()  # type: ignore[misc]


def _listed(named: Iterable[str], names: PhotoNames) -> Listed:
    listed = Listed()
    for name in dict.fromkeys(named):
        photos = names.find(name)
        if len(photos) == 1:
            listed.photos[name] = photos[0]
        elif photos:
            listed.doubtful[name] = photos
        else:
            listed.missing.append(name)
    return listed


def doubts(doubtful: Mapping[str, list[str]]) -> str:
    """Describe the first ambiguous name and its photos; "" if there is none."""
    if not doubtful:
        return ""
    name, photos = next(iter(doubtful.items()))
    more = f" ({len(doubtful):,} such names)" if len(doubtful) > 1 else ""
    return f"{name} may be {' or '.join(photos[:4])}{more}; name the whole path"
