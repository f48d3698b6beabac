"""On-disk cache of folders: atomic entries with one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from pets.cache.memo import cache_folder, checksums
from pets.errors import CacheError
from pets.io.atomic import to_disk
from pets.io.serialize import to_json

log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")
Key = Mapping[str, Any]
Make = Callable[[Path], None]

ABOUT = "about.json"
_NAME = re.compile(r"[a-z]+-[0-9a-f]{32}")  # an entry's folder
_PART = re.compile(rf"\.part-({_NAME.pattern})-\w+")  # one that is being written or removed
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Entry:
    """A finished entry: a folder whose files are described by its `about.json`."""

    folder: Path
    description: str
    key: Any
    bytes: int

    @property
    def used(self) -> datetime:
        """When it was last used."""
        return datetime.fromtimestamp((self.folder / ABOUT).stat().st_mtime, UTC)


class Store:
    """A folder of entries, each named by its kind and a hash of its key.

    An entry is written to a temporary folder that is renamed once all of it is on disk, so a killed
    writer leaves no partial entry. If several processes need the same entry, one creates it and the
    others wait. Entries can be read from a read-only folder. Checksums are verified before use.
    """

    def __init__(self, folder: str | Path) -> None:
        self.given, self.folder = folder, cache_folder(folder)

    def get(
        self, kind: str, key: Key, description: str, size: int, make: Make,
        load: Callable[[Path], Loaded],
    ) -> Loaded:  # fmt: skip
        """Return what `load` reads from the entry's folder; on a miss `make` fills the folder.

        `kind` is the prefix of the folder's name; `key` holds the plain values that determine the
        content; `description` and `size` (the expected bytes) are for log and `pets cache list`.
        Raises CacheError if the entry cannot be written.
        """
        name = _name(kind, key)
        if self._entry(name, key):
            with contextlib.suppress(FileNotFoundError):  # another process may be clearing it
                return self._load(name, description, load)
        with self._errors(description, size), self._locked(name, description):
            if self._entry(name, key):  # created by another process meanwhile
                return self._load(name, description, load)
            self._make(name, key, description, size, make)
            return load(self.folder / name)

    def has(self, kind: str, key: Key) -> bool:
        """Whether there is a usable entry for the key."""
        return self._entry(_name(kind, key), key) is not None

    def entries(self) -> list[Entry]:
        """Return all usable entries, last used first.

        Raises CacheError if `cache_dir` is not a folder.
        """
        found = {name: self._entry(name) for name in self._names()}
        for name, entry in found.items():
            if entry is None:
                log.warning("%s: damaged or unfinished", self.folder / name)
        return sorted(filter(None, found.values()), key=lambda entry: entry.used, reverse=True)

    def clear(self) -> tuple[int, list[str]]:
        """Remove every entry and the leftovers of killed writers, and no other file of the folder.

        Return the freed bytes and the names of entries that are being written, which are kept.
        Raises CacheError if an entry cannot be removed.
        """
        freed, busy = 0, []
        for name in self._names():
            try:
                with self._errors("clearing", 0), self._lock(name).acquire(timeout=0):
                    freed += self._remove(name)
            except Timeout:
                busy.append(name)
        return freed, busy

    def _names(self) -> list[str]:
        """The names of all entries, also of unfinished ones."""
        if not self.folder.exists():
            return []
        if not self.folder.is_dir():
            raise CacheError(f"cache_dir={self.folder}: is not a folder")
        names = {_PART.sub(r"\1", path.name) for path in self.folder.iterdir()}
        return sorted(filter(_NAME.fullmatch, names))

    def _entry(self, name: str, key: Key | None = None) -> Entry | None:
        """The entry; None if there is none, if it is damaged, or if it has another key."""
        folder = self.folder / name
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            files, its_key = about["files"], about["key"]
            if files == _checksums(folder) and (key is None or its_key == _plain(key)):
                size = sum((folder / file).stat().st_size for file in files)
                return Entry(folder, about["description"], its_key, size)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass
        return None

    def _load(self, name: str, description: str, load: Callable[[Path], Loaded]) -> Loaded:
        loaded = load(self.folder / name)
        log.info("%s: read from %s", description, self.given)
        with contextlib.suppress(OSError):
            os.utime(self.folder / name / ABOUT)
        return loaded

    def _make(self, name: str, key: Key, description: str, size: int, make: Make) -> None:
        part = self.folder / f".part-{name}-{os.getpid()}"
        if os.path.lexists(self.folder / name):
            log.warning("%s: damaged; it is recomputed", self.folder / name)
        self._remove(name)
        if free_bytes(self.folder) < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        log.info("%s: %s in %s", description, megabytes(size), self.given)
        try:
            part.mkdir()
            make(part)
            about = {"description": description, "files": _checksums(part), "key": _plain(key)}
            (part / ABOUT).write_text(to_json(about, indent=1) + "\n", encoding="utf-8")
            for path in (*part.iterdir(), part):
                to_disk(path)
            part.rename(self.folder / name)
            to_disk(self.folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

    def _remove(self, name: str) -> int:
        """Delete an entry and the leftovers of its killed writers; return the bytes."""
        if os.path.lexists(self.folder / name):
            # Rename first, so that no process reads a partial entry.
            (self.folder / name).rename(self.folder / f".part-{name}-removed{os.getpid()}")
        freed = 0
        for path in self.folder.glob(f".part-{name}-*"):
            freed += sum(file.stat().st_size for file in path.rglob("*"))
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        return freed

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.folder / f".{name}.lock")

    @contextlib.contextmanager
    def _locked(self, name: str, description: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock(name)
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            log.info("%s: another process is computing it; waiting", description)
            held = lock.acquire()
        with held:
            yield

    @contextlib.contextmanager
    def _errors(self, description: str, size: int) -> Iterator[None]:
        """Turn an OSError of cache files into a CacheError; errors about photos pass through."""
        try:
            yield
        except OSError as error:
            if isinstance(error, Timeout) or not self._is_own(error):
                raise
            line = f"cache_dir={self.folder}: cannot be written ({error.strerror or error})"
            if error.errno not in _FULL:
                raise CacheError(f"{line}; expected a folder of your own: cache_dir=...") from error
            raise CacheError(
                f"{line}; {description} needs {megabytes(size)}, "
                f"{megabytes(free_bytes(self.folder))} are free. Make room (pets cache clear), or "
                "give a folder with room: cache_dir=..."
            ) from error

    def _is_own(self, error: OSError) -> bool:
        if error.filename is None:  # numpy names neither file nor error if the disk is full
            return error.errno in (None, *_FULL)
        path = Path(os.fsdecode(error.filename))
        of_an_entry = path.is_relative_to(self.folder) and _NAME.search(str(path))
        return bool(of_an_entry) or self.folder.is_relative_to(path)


def megabytes(size: int) -> str:
    """Format bytes for people: 3.1 MB, 240 MB, 1,250 MB."""
    number = size / 1e6
    return f"{number:,.0f} MB" if number >= 10 else f"{number:.1f} MB"


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which may not exist yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _name(kind: str, key: Key) -> str:
    text = to_json(key, sort_keys=True)
    return f"{kind}-{blake2b(text.encode(), digest_size=16).hexdigest()}"


def _plain(value: Any) -> Any:
    """The value after a JSON round trip: tuples become lists."""
    return json.loads(to_json(value))


def _checksums(folder: Path) -> dict[str, str]:
    """Size and checksum of each file of an entry."""
    files = sorted(file for file in folder.iterdir() if file.name != ABOUT)
    sums = checksums.of_all(files, "checking the cache")
    return dict(zip((file.name for file in files), sums, strict=True))
