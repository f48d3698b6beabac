"""Find the photos below a folder: links are followed, files that are no photos are reported."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator
from pathlib import Path, PurePosixPath

from pets.data.diagnostics import Diagnostics
from pets.data.images import SUFFIXES, hint
from pets.errors import DataError, some

# Folders that systems create: thumbnails, bins, snapshots. Hidden ones are skipped anyway.
_SYSTEM = frozenset(
    {
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx",
        "$recycle.bin", "recycler", "system volume information", "found.000", "lost+found",
        "lost.dir",
    }
)  # fmt: skip
# Files by which a folder written by pets is recognised: all of one set.
_PETS = (
    {"status.json", "config.yaml"}, {"look.log"}, {"verify.log"}, {"find-lr.log"}, {"sweep.yaml"},
    {"summary.html", "summary.csv"},
)  # fmt: skip


def left_out_folder(name: str, inside: Container[str] = ()) -> str | None:
    """Return why a folder holds no photos of the user, by its name or contents; else None."""
    if name.casefold() in _SYSTEM:
        return "in folders of the system"
    if any(all(file in inside for file in files) for files in _PETS):
        return "in folders that pets wrote"
    return None


def find_photos(root: Path, images: str, diagnostics: Diagnostics) -> list[str]:
    """Find all image files below `root/images`, by their suffix.

    Links to folders are followed; a folder that is reached twice is read once. Hidden files, system
    folders and folders written by pets are left out and reported to `diagnostics`.

    Returns:
        Sorted paths relative to `root`, with forward slashes on every system.

    Raises:
        DataError: There is no photo.
    """
    folder = root / images
    if not folder.is_dir():
        raise DataError(f"data.root={root}: no folder {folder}; give data.root=<your photos>")
    photos: list[Path] = []
    others: list[Path] = []
    broken: list[Path] = []
    hidden: list[Path] = []
    skipped: dict[str, list[Path]] = defaultdict(list)
    misnamed: list[str] = []
    for path, why in _everything(folder, diagnostics):
        a_photo = path.suffix.lower() in SUFFIXES
        why = "hidden" if path.name.startswith(".") else why
        if why:
            (skipped[why] if a_photo else hidden).append(path)
        elif not _is_text(path.name):
            misnamed.append(ascii(path.relative_to(root).as_posix()))
        elif path.is_symlink() and not path.exists():
            broken.append(path)
        elif path.is_file():
            (photos if a_photo else others).append(path)
        elif a_photo:  # a folder, a pipe or a device of that name
            skipped["that are no regular files"].append(path)
    paths = _below(root, photos)
    if misnamed:
        what = "names that are not UTF-8, rename the files"
        diagnostics.error("bad name", None, f"{folder}: {what}: {some(misnamed)}")
    for why, files in sorted(skipped.items()):
        diagnostics.note("not a photo", _below(root, files), _left_out(folder, why))
    if not paths:
        raise DataError(
            f"{folder}: no images; expected files ending in {', '.join(sorted(SUFFIXES))}"
            + (f"; there are {_kinds(_below(root, others))}" if others else "")
        )
    diagnostics.note("not a photo", _below(root, others), lambda paths: _not_photos(folder, paths))
    diagnostics.debug("not a photo", _below(root, hidden), _left_out(folder, "hidden", "files"))
    diagnostics.warning(
        "missing",
        _below(root, broken),
        lambda paths: f"left out {len(paths):,} broken links: {some(paths)}",
    )
    return paths


def _left_out(folder: Path, why: str, what: str = "photos") -> Callable[[list[str]], str]:
    return lambda paths: f"{folder}: left out {len(paths):,} {what} {why}: {some(paths)}"


def _everything(folder: Path, diagnostics: Diagnostics) -> Iterator[tuple[Path, str]]:
    """Yield every file, and folders named like photos, each with the reason to skip it, or "".

    Files of the folder itself come before those that are reached by links.
    """
    whole = folder.resolve()
    seen = {_identity(parent) for parent in (whole, *whole.parents)}
    again: list[str] = []
    links: list[tuple[Path, str]] = []
    queue = [(folder, "")]
    while queue or links:
        if not queue:
            links.sort(reverse=True)
            link, why = links.pop()
            if (known := _identity(link)) in seen:
                again.append(link.relative_to(folder).as_posix())
                continue
            seen.add(known)
            queue.append((link, why))
        where, why = queue.pop()
        entries = _entries(where, why, diagnostics)
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
                queue.append((path, inner))
    if again:
        what = "links to folders that are read already, or to a parent"
        diagnostics.warning("unused", None, f"{folder}: left out {what}: {some(sorted(again))}")


def _entries(folder: Path, why: str, diagnostics: Diagnostics) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; an unreadable folder is reported."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not (why or left_out_folder(folder.name)):
            line = f"{folder}: the folder cannot be read ({error.strerror})"
            diagnostics.error("unreadable", None, line)
        return []


def _identity(folder: Path) -> tuple[int, int]:
    try:
        stat = folder.stat()
    except OSError:  # reported when it is read
        return (-1, hash(folder))
    return stat.st_dev, stat.st_ino


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
    return f"{folder}: left out files that are no photos by their suffix: {_kinds(paths)}"


def _kinds(paths: list[str]) -> str:
    suffixes = Counter(PurePosixPath(path).suffix.lower() for path in paths)
    return ", ".join(counted(suffix, count) for suffix, count in sorted(suffixes.items()))


def counted(suffix: str, count: int) -> str:
    """Format a count of files by suffix: `3 .heic (pip install pillow-heif)`."""
    missing = hint(suffix)
    return f"{count:,} {suffix or 'no suffix'}{f' ({missing})' if missing else ''}"
