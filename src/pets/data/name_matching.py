"""Match the names in lists and tables to photos, and regular expressions to their names."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pets.data.diagnostics import Diagnostics
from pets.data.images import SUFFIXES
from pets.errors import DataError

# How the columns of a list are separated (None: by blanks), and their number after the name. Names
# may contain the separator, so columns are counted from the end; None: the first one ends the name.
_COLUMNS = [(separator, n) for separator in ("\t", None, ",", ";") for n in (None, 1, 2, 3)]


@dataclass
class Matches:
    """The names of a list or a table: each matches one photo, none (`missing`) or several."""

    photos: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    ambiguous: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, photos: list[str]) -> None:
        """Add a name and the photos that it may refer to."""
        if len(photos) == 1:
            self.photos[name] = photos[0]
        elif photos:
            self.ambiguous[name] = photos
        else:
            self.missing.append(name)

    def report(self, file: Path, folder: Path, diagnostics: Diagnostics) -> None:
        """Report the names in `file` that do not match exactly one photo below `folder`."""
        for name, photos in list(self.ambiguous.items())[:1]:
            line = f"{file}: {name} may be {' or '.join(photos[:4])}; give the whole path"
            diagnostics.error("ambiguous", list(self.ambiguous), f"{line} (<n> such names)")
        total = len(self.photos) + len(self.missing) + len(self.ambiguous)
        line = f"{file}: names <n> of {total:,} photos that are not below {folder}: <photos>"
        diagnostics.error("missing", self.missing, line)


class PhotoNames:
    """Index of photos (paths relative to `root`) by every name that a list or a table may use.

    Tried in this order: the path relative to the folder `images` or to the root; the path without
    suffix; the bare name, with or without suffix, of a photo in any folder.
    """

    def __init__(self, paths: Iterable[str], images: str = ".", root: Path = Path()) -> None:
        self._root = f"{root.absolute()}/"
        self._levels: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(4)]
        prefix = f"{posixpath.normpath(images)}/"
        for path in paths:
            spelled = _spelled(path)
            whole, bare = {spelled, spelled.removeprefix(prefix)}, {posixpath.basename(spelled)}
            names = (whole, map(_stem, whole), bare, map(_stem, bare))
            for level, spellings in zip(self._levels, names, strict=True):
                for name in set(spellings):
                    level[name].append(path)

    def find(self, name: str) -> list[str]:
        """Return the photos that match a name; several if it is ambiguous."""
        name = self._normal(name)
        levels = self._levels[:2] if "/" in name else self._levels
        return next((level[name] for level in levels if name in level), [])

    def path(self, name: str) -> str:
        """Return the photo whose path this is in any spelling, or else `name` itself."""
        if name in self._levels[0].get(_spelled(name), []):
            return name
        photos = self._levels[0].get(self._normal(name), [])
        return photos[0] if len(photos) == 1 else name

    def _normal(self, name: str) -> str:
        name = _spelled(posixpath.normpath(name.strip().replace("\\", "/")))
        return name.removeprefix(self._root)

    def match(self, names: Iterable[str]) -> Matches:
        """Match each of the names."""
        matches = Matches()
        for name in dict.fromkeys(names):
            matches.add(name, self.find(name))
        return matches

    def match_lines(self, file: Path) -> Matches:
        """Match a list: one name per line, or one followed by columns; `#` starts a comment.

        If any whole line is a photo's name, all lines are. Otherwise every line has columns, which
        are separated and counted in the same way on all lines: the way that finds most photos.
        Raises DataError if the file is empty or not UTF-8 text.
        """
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n")]
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: is not UTF-8 text; save it as UTF-8") from error
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        lines = [line for line in dict.fromkeys(lines) if line]
        names = lines
        if not any(map(self.find, lines)):
            most = 0
            for way in _COLUMNS:
                cut = [_without_columns(line, *way) for line in lines]
                found = {tuple(photos) for photos in map(self.find, cut)}
                if len(found) > max(most, 1):
                    names, most = cut, len(found)
                if most == len(lines):  # no other way can find more
                    break
        matches = self.match(name for name in names if not name.startswith("#") or self.find(name))
        if not (matches.photos or matches.missing or matches.ambiguous):
            raise DataError(f"{file}: names no photo; expected one photo per line")
        return matches


def captured(regex: str, group: str, names: Iterable[str]) -> dict[str, str | None]:
    """Return what a regex captures in each name; None where it captures nothing.

    It is the group called `group`, else the first one; the config has checked that there is one.
    """
    pattern = re.compile(regex)
    which: str | int = group if group in pattern.groupindex else 1
    matches = {name: pattern.search(name) for name in names}
    return {name: (match[which] or None) if match else None for name, match in matches.items()}


def _without_columns(line: str, separator: str | None, count: int | None) -> str:
    """Return the name in front of `count` columns, or of any number if None.

    It is the whole line if there are fewer columns, or if the cut would be within a name, as in
    `pug (2)` or `pug 2.jpg`.
    """
    parts = line.split(separator, 1) if count is None else line.rsplit(separator, count)
    name, columns = parts[0].strip(), [column.strip() for column in parts[1:]]
    words = " ".join(columns).replace(",", " ").replace(";", " ").lower().split()
    within = words[:1] and words[0].startswith(("(", "["))
    if not name.lower().endswith(tuple(SUFFIXES)):
        within = within or any(word.endswith(tuple(SUFFIXES)) for word in words)
    return line if within or len(columns) < (count or 1) else name


def _spelled(name: str) -> str:
    """Normalise accents, which some systems write as separate characters."""
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]
