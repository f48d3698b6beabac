"""Which photos lie below a folder: links followed, what is nobody's photo left out and said."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator
from pathlib import Path, PurePosixPath

from pets.data.diagnostics import Remarks
from pets.data.images import SUFFIXES, hint
from pets.errors import DataError, some

# Folders that systems put among photos: thumbnails, bins, copies. Hidden ones need no name here.
_SYSTEM = frozenset(
    {
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx",
        "$recycle.bin", "recycler", "system volume information", "found.000", "lost+found",
        "lost.dir",
    }
)  # fmt: skip
# A folder that has all of one of these was written by pets: a run, pictures, a search, a summary.
_PETS = (
    {"status.json", "config.yaml"}, {"look.log"}, {"verify.log"}, {"find-lr.log"}, {"sweep.yaml"},
    {"summary.html", "summary.csv"},
)  # fmt: skip


def left_out_folder(name: str, inside: Container[str] = ()) -> str | None:
    """Why a folder holds no photos of the user's, by its name or by what lies inside; or None."""
    if name.casefold() in _SYSTEM:
        return "in folders of the system"
    if any(all(file in inside for file in files) for files in _PETS):
        return "in folders that pets wrote"
    return None


def find_photos(root: Path, images: str, remarks: Remarks) -> list[str]:
    """Every image file below `root/images` by its suffix, as sorted paths relative to root.

    Paths have forward slashes on every system. Links to folders are followed, a folder that is
    reached twice is read once. Hidden files, folders of the system and what pets wrote are left
    out; all that is left out is told to `remarks`. Raises DataError where there is no photo.
    """
    folder = root / images
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no folder {folder}; give data.root=<your photos>")
    photos: list[Path] = []
    others: list[Path] = []
    broken: list[Path] = []
    hidden: list[Path] = []
    aside: dict[str, list[Path]] = defaultdict(list)
    misnamed: list[str] = []
    for path, why in _everything(folder, remarks):
        a_photo = path.suffix.lower() in SUFFIXES
        why = "hidden" if path.name.startswith(".") else why
        if why:
            (aside[why] if a_photo else hidden).append(path)
        elif not _is_text(path.name):
            misnamed.append(ascii(path.relative_to(root).as_posix()))
        elif path.is_symlink() and not path.exists():
            broken.append(path)
        elif path.is_file():
            (photos if a_photo else others).append(path)
        elif a_photo:
            others.append(path)
    found = _below(root, photos)
    if misnamed:
        words = "names in another encoding than UTF-8, rename them"
        remarks.error("bad name", None, f"{folder}: {words}: {some(misnamed)}")
    for why, paths in sorted(aside.items()):
        remarks.note("not a photo", _below(root, paths), _left_out(folder, why))
    if not found:
        raise DataError(
            f"{folder}: no images; expected files ending in {', '.join(sorted(SUFFIXES))}"
            + (f"; there are {_kinds(_below(root, others))}" if others else "")
        )
    remarks.note("not a photo", _below(root, others), lambda paths: _not_photos(folder, paths))
    remarks.aside("not a photo", _below(root, hidden), _left_out(folder, "hidden", "files"))
    remarks.warning(
        "missing",
        _below(root, broken),
        lambda paths: f"left out links that lead nowhere, {len(paths):,}: {some(paths)}",
    )
    return found


def _left_out(folder: Path, why: str, what: str = "photos") -> Callable[[list[str]], str]:
    return lambda paths: f"{folder}: left out {len(paths):,} {what} {why}: {some(paths)}"


def _everything(folder: Path, remarks: Remarks) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, each with the reason why it is not used, or ""; and the folders
    that are named like photos. What lies here itself comes before what links lead to."""
    whole = folder.resolve()
    seen = {_identity(place) for place in (whole, *whole.parents)}
    again: list[str] = []
    links: list[tuple[Path, str]] = []
    places = [(folder, "")]
    while places or links:
        if not places:
            links.sort(reverse=True)
            place, why = links.pop()
            if (known := _identity(place)) in seen:
                again.append(place.relative_to(folder).as_posix())
                continue
            seen.add(known)
            places.append((place, why))
        where, why = places.pop()
        entries = _entries(where, why, remarks)
        names = {entry.name for entry in entries}
        if where != folder:
            why = why or left_out_folder(where.name, names) or ""
        for entry in entries:
            path = where / entry.name
            if not _is_folder(entry):
                yield path, why
                continue
            if path.suffix.lower() in SUFFIXES and not why:
                yield path, why
            inner = why or ("hidden" if entry.name.startswith(".") else "")
            if entry.is_symlink():
                links.append((path, inner))
            elif (known := _identity(path)) in seen:
                again.append(path.relative_to(folder).as_posix())
            else:
                seen.add(known)
                places.append((path, inner))
    if again:
        words = "links to folders that are read already, or that lead back"
        remarks.warning("unused", None, f"{folder}: left out {words}: {some(sorted(again))}")


def _entries(folder: Path, why: str, remarks: Remarks) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; of one that cannot be read it is said."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        if not (why or left_out_folder(folder.name)):
            line = f"{folder}: the folder cannot be read ({error.strerror})"
            remarks.error("unreadable", None, line)
        return []


def _identity(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError:  # it cannot be read either, and that is said there
        return (-1, hash(folder))
    return found.st_dev, found.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding, as Python keeps them
        return False
    return True


def _below(root: Path, files: list[Path]) -> list[str]:
    return sorted(file.relative_to(root).as_posix() for file in files)


def _not_photos(folder: Path, paths: list[str]) -> str:
    return f"{folder}: left out what is no photo by its suffix: {_kinds(paths)}"


def _kinds(paths: list[str]) -> str:
    suffixes = Counter(PurePosixPath(path).suffix.lower() for path in paths)
    return ", ".join(counted(suffix, count) for suffix, count in sorted(suffixes.items()))


def counted(suffix: str, count: int) -> str:
    """`3 .heic (pip install pillow-heif)`."""
    missing = hint(suffix)
    return f"{count:,} {suffix or 'no suffix'}{f' ({missing})' if missing else ''}"
