"""Find the photos of `source=...`, in a reproducible order.

Their addresses are local paths, or URLs that fsspec reads: `s3://bucket/cats/1.jpg` is a file in a
bucket, `zip://cats/1.jpg::photos.zip` one in a zip file.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pets.data.discovery import BROKEN, SYSTEM, WRITTEN, Walk, counted, left_out_folder
from pets.data.images import SUFFIXES
from pets.distributed.ranks import ranks
from pets.errors import DataError
from pets.prediction.remote import WILDCARD, is_remote, list_remote, readable

STDIN = "-"
_HIDDEN = re.compile(r"(^|/)\.")


@dataclass(frozen=True)
class Source:
    """Photos by their addresses.

    Attributes:
        name: Used for the default name of the table.
        files: The addresses.
        left_out: Number of skipped files of a folder, by suffix or reason.
    """

    name: str
    files: list[str]
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def left_out_summary(self) -> str:
        """`3 .heic (pip install pillow-heif), 2 .txt`; empty if nothing was skipped."""
        return ", ".join(counted(what, n) for what, n in sorted(self.left_out.items()))


def find_source(source: str) -> Source:
    """Find the photos of a photo, a folder, a zip file, a glob or a list.

    Args:
        source: A photo; a folder or zip file with its sub-folders; a glob; a text file with one
            path or URL per line (relative to the current folder, or to the text file); `-` for such
            a list on standard input. All but lists and zip files may be remote.

    Raises:
        DataError: It is none of these, cannot be read, or holds no photos.
    """
    if source == STDIN:
        return _stdin()
    if is_remote(source):
        return _not_empty(_remote(source), f"source={source}: no photos there")
    path = Path(source)
    # Folders and files first: their names may contain wildcards.
    if path.is_dir():
        return _not_empty(_folder(source), f"source={source}: no images in this folder")
    if path.is_file():
        if path.suffix.lower() == ".txt":
            return _list(path)
        if path.suffix.lower() == ".zip":
            return _not_empty(_remote(f"zip://::{source}"), f"source={source}: holds no images")
        return Source(path.stem, [source])
    if WILDCARD.search(source):
        return _not_empty(_glob(source), f"source={source}: no file matches")
    if is_special(source):
        raise DataError(
            f"source={source}: is not a regular file but a pipe, socket or device; expected a "
            f"photo, folder or list (a list from a pipe: source={STDIN})"
        )
    raise DataError(f"source={source}: no such photo, folder or list")


def is_special(path: str) -> bool:
    """Whether a local path is a pipe, a socket or a device: reading it might block forever."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a name need not be text
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _not_empty(found: Source, line: str) -> Source:
    if not found.files:
        left_out = found.left_out_summary
        raise DataError(f"{line}; left out: {left_out}" if left_out else line)
    return found


def _sorted(names: Iterable[str]) -> list[str]:
    """Sort by folder, then by name."""
    return sorted(names, key=lambda name: name.replace("/", "\0"))


def _photos_among(names: Iterable[str], left_out: Counter[str]) -> list[str]:
    """Return the names with a photo's suffix, sorted; count all others except hidden files."""
    photos = []
    for name in names:
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if suffix in SUFFIXES and not path.name.startswith("._"):  # macOS metadata
            photos.append(name)
        elif not path.name.startswith("."):
            left_out[suffix] += 1
    return _sorted(photos)


def _regular(files: Iterable[str], left_out: Counter[str]) -> list[str]:
    """Remove and count pipes and devices; missing files are kept."""
    special = {file for file in files if is_special(file)}
    if special:
        left_out["no regular file"] += len(special)
    return [file for file in files if file not in special]


def _folder(folder: str) -> Source:
    """Find the photos below a local folder, hidden ones too, by the rules for training photos.

    An unreadable sub-folder is listed instead of its photos, so that it gets a row with an error.
    """
    unreadable: list[OSError] = []
    start = Path(folder)
    walk = Walk(start, start, unreadable.append, hidden=True)
    names: list[str] = []
    left_out: Counter[str] = Counter()
    for file in walk.files(start):
        if file.suffix.lower() not in SUFFIXES and file.is_symlink() and not os.path.exists(file):  # noqa: PTH110
            left_out[BROKEN] += 1
        else:
            names.append(file.relative_to(start).as_posix())
    photos = [str(start / name) for name in _photos_among(names, left_out)]
    photos = _sorted([*photos, *(str(error.filename) for error in unreadable)])
    left_out.update({why: len(walk.left_out[why]) for why in (SYSTEM, WRITTEN)})
    return Source(start.resolve().name or "predictions", _regular(photos, left_out), +left_out)


def _glob(glob: str) -> Source:
    """Find the local files that match. `**` matches any number of folders, except hidden ones and
    links; names with a leading dot are matched only by patterns with one."""
    parts = glob.split("/")
    first = next(i for i, part in enumerate(parts) if WILDCARD.search(part))
    # A folder may have wildcards in its own name: photos [2021]/*.jpg
    while first + 1 < len(parts) and Path("/".join(parts[: first + 1])).is_dir():
        first += 1
    start = Path("/".join(parts[:first]) or ("/" if glob.startswith("/") else "."))
    pattern = "/".join(parts[first:])
    try:
        found = list(start.glob(f"{pattern}/*" if pattern.endswith("**") else pattern))
    except ValueError as error:
        raise DataError(f"source={glob}: not a valid glob ({error})") from error
    files = [str(path) for path in found if not path.is_dir()]
    if not _HIDDEN.search(pattern):
        files = [file for file in files if not _HIDDEN.search(os.path.relpath(file, start))]
    left_out: Counter[str] = Counter()
    return Source("photos", _regular(_sorted(files), left_out), left_out)


def _remote(source: str) -> Source:
    """Find a remote photo, the photos below a remote folder, or the matches of a remote glob."""
    left_out: Counter[str] = Counter()
    kind, addresses = list_remote(source)
    names = _sorted(addresses)
    inside, _, outside = source.partition("::")
    path = PurePosixPath(inside.partition("://")[2])
    if kind == "folder":
        inner = [n for n in names if not any(map(left_out_folder, n.split("/")))]
        names = _photos_among(inner, left_out)
    elif kind == "glob" and not _HIDDEN.search(inside):
        names = [name for name in names if not _HIDDEN.search(name)]
    name = {"folder": path.name, "file": path.stem, "glob": "photos"}[kind] or Path(outside).stem
    return Source(name or "predictions", [addresses[n] for n in names], left_out)


def _list(file: Path) -> Source:
    """Read the list of photos in a text file, relative to the current folder or to the file."""
    with readable(f"source={file}"):
        content = file.read_bytes()
    files = []
    for line in map(os.path.expanduser, _lines(content, str(file))):
        beside = str(file.parent / line)
        here = Path(line).exists() or (is_remote(line) and not os.path.lexists(beside))
        files.append(line if here else beside)
    return Source(file.stem, files)


def _stdin() -> Source:
    if ranks().world > 1:
        raise DataError(
            f"source={STDIN}: only one of {ranks().world} processes could read standard input; "
            "write the list to a .txt file"
        )
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError(f"source={STDIN}: expected a list on standard input, one path per line")
    return Source("stdin", _lines(sys.stdin.buffer.read(), STDIN))


def _lines(content: bytes, source: str) -> list[str]:
    """Return the non-empty lines unchanged; file names need not be valid text."""
    if b"\0" in content:
        raise DataError(
            f"source={source}: has NUL bytes; expected one path per line (find without -print0)"
        )
    lines = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").split(b"\n")
    if not any(lines):
        raise DataError(f"source={source}: the list is empty; expected one path per line")
    return [os.fsdecode(line) for line in lines if line]
