"""Photos below a folder and files that match a glob, one folder in memory at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import PurePosixPath

from pets.data.discovery import left_out_folder
from pets.data.images import SUFFIXES
from pets.errors import DataError
from pets.prediction.filesystems import Entry, is_folder, is_remote, join_address, list_folder

WILDCARDS = "*?["
_ANY_DEPTH = "**"
SPECIAL = "no regular file"
NAMED_FOLDER = "folder named like a photo"


def walk_folder(folder: str, left_out: Counter[str]) -> Iterator[str]:
    """The addresses of all photos below a folder, each folder sorted by name.

    A sub-folder that cannot be read is yielded in place of its photos, so that it gets a row with
    an error. Folders of the system and of pets are skipped.

    Args:
        folder: a local path or a remote address.
        left_out: counts the files that are no photos, by suffix or by reason.

    Raises:
        DataError: The folder cannot be read.
    """
    yield from _walk(folder, list_folder(folder), left_out, _Links(folder))


def match_glob(glob: str, left_out: Counter[str]) -> Iterator[str]:
    """The addresses of all files that match, each once.

    `**` stands for any number of folders, except hidden ones and links. A name that begins with a
    dot is matched only by a pattern that does so, too.
    """
    head, chain, rest = glob.partition("::") if is_remote(glob) else (glob, "", "")
    scheme, colon, path = head.rpartition("://") if is_remote(glob) else ("", "", glob)
    parts = path.split("/")
    first = next(i for i, part in enumerate(parts) if any(sign in part for sign in WILDCARDS))
    # A local folder may have wildcards in its own name: photos [2021]/*.jpg
    while (
        not is_remote(glob) and first + 1 < len(parts) and is_folder("/".join(parts[: first + 1]))
    ):
        first += 1
    start = "/".join(parts[:first]) or ("/" if path.startswith("/") and not colon else "")
    folder = f"{scheme}{colon}{start}{chain}{rest}"
    if is_remote(glob) or not start or is_folder(folder):
        yield from _match(folder, list_folder(folder), {tuple(parts[first:])}, left_out)


def _walk(
    folder: str, entries: list[Entry], left_out: Counter[str], links: _Links
) -> Iterator[str]:
    for entry in entries:
        address = join_address(folder, entry.name)
        suffix = PurePosixPath(entry.name).suffix.lower()
        if entry.folder:
            if suffix in SUFFIXES:
                left_out[NAMED_FOLDER] += 1
            if entry.link and not links.lead_on(address):
                continue
            inside = _list_or_none(address)
            if left_out_folder(entry.name, {e.name for e in inside or ()}):
                continue
            yield from [address] if inside is None else _walk(address, inside, left_out, links)
        elif suffix in SUFFIXES and not entry.name.startswith("._"):  # what a Mac adds
            if entry.special:
                left_out[SPECIAL] += 1
            else:
                yield address
        elif not entry.name.startswith("."):
            left_out[suffix] += 1


def _match(
    folder: str, entries: list[Entry], patterns: set[tuple[str, ...]], left_out: Counter[str]
) -> Iterator[str]:
    """`patterns`: what may remain of the glob for the entries of this folder."""
    for entry in entries:
        remaining = {rest for pattern in patterns for rest in _advance(pattern, entry)}
        address = join_address(folder, entry.name)
        if entry.folder and any(remaining):
            inside = _list_or_none(address)
            yield from (
                [address] if inside is None else _match(address, inside, remaining, left_out)
            )
        elif not entry.folder and () in remaining:
            if entry.special:
                left_out[SPECIAL] += 1
            else:
                yield address


def _advance(pattern: tuple[str, ...], entry: Entry) -> Iterator[tuple[str, ...]]:
    """What may remain of a pattern after an entry; nothing where it does not match."""
    if not pattern:
        return
    first, rest = pattern[0], pattern[1:]
    hidden = entry.name.startswith(".")
    if first == _ANY_DEPTH:
        if not (hidden or entry.link):
            yield pattern
            if not rest:
                yield ()
        yield from _advance(rest, entry)
    elif fnmatch(entry.name, first) and (not hidden or first.startswith(".")):
        yield rest


def _list_or_none(folder: str) -> list[Entry] | None:
    try:
        return list_folder(folder)
    except DataError:
        return None


class _Links:
    """Decides which links to folders are followed: those to folders that are not walked anyway."""

    def __init__(self, root: str) -> None:
        self._walked = [os.path.realpath(root)]

    def lead_on(self, link: str) -> bool:
        target = os.path.realpath(link)
        new = all(os.path.commonpath((target, one)) not in (target, one) for one in self._walked)
        if new:
            self._walked.append(target)
        return new
