"""Find the photos below a folder; links are followed, skipped files are reported."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator
from pathlib import Path, PurePosixPath

from pets.data.diagnostics import Diagnostics
from pets.data.images import SUFFIXES, hint
from pets.errors import DataError, some

# Folders created by systems: thumbnails, recycle bins, snapshots.
_SYSTEM = frozenset(
    {
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx",
        "$recycle.bin", "recycler", "system volume information", "found.000", "lost+found",
        "lost.dir",
    }
)  # fmt: skip
# Files that identify a folder written by pets: all files of one set.
_PETS = (
    {"status.json", "config.yaml"}, {"look.log"}, {"verify.log"}, {"find-lr.log"}, {"sweep.yaml"},
    {"summary.html", "summary.csv"},
)  # fmt: skip
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # how Python represents undecodable bytes
BROKEN, SYSTEM, WRITTEN = "broken links", "folders of the system", "folders that pets wrote"
_HIDDEN, _SPECIAL = "hidden files or folders", "files named like photos that are not regular files"
_AGAIN = "links to folders that are read already, or to a parent"
_KINDS = {BROKEN: "missing", _AGAIN: "unused"}  # all others: not a photo


def left_out_folder(name: str, inside: Container[str] = ()) -> str | None:
    """Return why a folder is skipped, judging by its name or contents; else None."""
    if name.casefold() in _SYSTEM:
        return SYSTEM
    if any(all(file in inside for file in files) for files in _PETS):
        return WRITTEN
    return None


class Walk:
    """The files below `folder`, and the skipped ones by reason, as paths relative to `root`.

    Links to folders are followed last, and each folder is read once. Hidden folders are skipped
    unless `hidden`. `unreadable` is called with the error of a folder that cannot be read.
    """

    def __init__(
        self, root: Path, folder: Path, unreadable: Callable[[OSError], None], hidden: bool = False
    ) -> None:
        self.root, self.folder, self.unreadable, self.hidden = root, folder, unreadable, hidden
        whole = folder.resolve()
        self.seen = {_identity(parent) for parent in (whole, *whole.parents)}
        self.left_out: dict[str, list[str]] = defaultdict(list)

    def leave_out(self, path: Path, why: str) -> None:
        name = path.relative_to(self.root).as_posix()
        self.left_out[why].append(name.encode(errors="replace").decode())

    def files(self, start: Path) -> Iterator[Path]:
        links = []
        for where, folders, files in os.walk(start, onerror=self.unreadable):
            here = Path(where)
            if here != self.folder and (why := left_out_folder("", files)):
                self.leave_out(here, why)
                folders.clear()
                continue
            inside = [here / name for name in sorted(folders)]
            folders.clear()
            for path in inside:
                if path.suffix.lower() in SUFFIXES:
                    self.leave_out(path, _SPECIAL)
                hidden = path.name.startswith(".") and not self.hidden
                if why := _HIDDEN if hidden else left_out_folder(path.name):
                    self.leave_out(path, why)
                elif os.path.islink(path):  # noqa: PTH114 - never raises
                    links.append(path)
                elif self._is_new(path):
                    folders.append(path.name)
            yield from (here / name for name in sorted(files))
        for link in sorted(links):
            if self._is_new(link):
                yield from self.files(link)

    def _is_new(self, folder: Path) -> bool:
        try:
            known = _identity(folder)
        except OSError:  # reported when it is read
            return True
        if known in self.seen:
            self.leave_out(folder, _AGAIN)
            return False
        self.seen.add(known)
        return True


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def find_photos(root: Path, images: str, diagnostics: Diagnostics) -> list[str]:
    """Find all image files below `root/images`, by their suffix.

    Links to folders are followed; a folder that is reached twice is read once. Hidden files, system
    folders and folders written by pets are left out and reported. Paths are sorted, relative to
    `root`, with forward slashes on every system. Raises DataError if there is no photo.
    """
    folder = root / images
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no folder {folder}; give data.root=<your photos>")

    def unreadable(error: OSError) -> None:
        line = f"{error.filename}: the folder cannot be read ({error.strerror})"
        diagnostics.error("unreadable", None, line)

    walk = Walk(root, folder, unreadable)
    photos: list[str] = []
    others: list[str] = []
    misnamed: list[str] = []
    for file in walk.files(folder):
        path = file.relative_to(root).as_posix()
        is_photo = file.suffix.lower() in SUFFIXES
        if file.is_symlink() and not file.exists():
            walk.leave_out(file, BROKEN)
        elif is_photo and file.name.startswith("."):
            walk.leave_out(file, _HIDDEN)
        elif is_photo and not file.is_file():  # a pipe or a device of that name
            walk.leave_out(file, _SPECIAL)
        elif _NOT_UTF8.search(path):
            misnamed.append(ascii(path))
        elif not file.name.startswith("."):
            (photos if is_photo else others).append(path)
    if misnamed:
        line = f"{folder}: names that are not UTF-8, rename the files: {some(misnamed)}"
        diagnostics.error("bad name", None, line)
    for why, paths in sorted(walk.left_out.items()):
        report = diagnostics.warning if why in _KINDS else diagnostics.note
        kind = _KINDS.get(why, "not a photo")
        report(kind, sorted(paths), f"{folder}: left out <n> {why}: <photos>")
    if not photos:
        raise DataError(
            f"{folder}: no images; expected files ending in {', '.join(sorted(SUFFIXES))}"
            + (f"; there are {_kinds(others)}" if others else "")
        )
    line = f"{folder}: left out files whose suffix is not that of a photo: {_kinds(others)}"
    diagnostics.note("not a photo", sorted(others), line)
    return sorted(photos)


def _kinds(paths: list[str]) -> str:
    suffixes = Counter(PurePosixPath(path).suffix.lower() for path in paths)
    return ", ".join(counted(suffix, count) for suffix, count in sorted(suffixes.items()))


def counted(suffix: str, count: int) -> str:
    """Format a count of files by suffix: `3 .heic (pip install pillow-heif)`."""
    missing = hint(suffix)
    return f"{count:,} {suffix or 'no suffix'}{f' ({missing})' if missing else ''}"
