"""Folders of a cache: each appears whole or not at all, made by one process at a time."""

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

from pets.cache.files import checksums, existing, megabytes, to_disk
from pets.cache.memo import cache_folder
from pets.errors import CacheError
from pets.io.serialize import to_json

log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")

ABOUT = "about.json"
_NAME = re.compile(r"[a-z]+-[0-9a-f]{32}")  # an entry's folder
_PART = re.compile(rf"\.part-({_NAME.pattern})-\w+")  # one that is being made or removed
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
        """When it was last asked for."""
        return datetime.fromtimestamp((self.folder / ABOUT).stat().st_mtime, UTC)


class Damaged(Exception):
    """Why the folder of an entry cannot be used."""


class Store:
    """A folder of entries, each named by its kind and a hash of its key.

    An entry is made in a temporary folder that is renamed once all of it is on disk, so a killed
    writer leaves no half entry. If several processes ask for the same entry, one makes it and the
    others wait. Entries can be read from a folder that cannot be written. Files are compared with
    their checksums before they are used.
    """

    def __init__(self, folder: str | Path) -> None:
        self.given, self.folder = folder, cache_folder(folder)

    def get(
        self,
        kind: str,
        key: Mapping[str, Any],
        description: str,
        size: int,
        make: Callable[[Path], None],
        load: Callable[[Path], Loaded],
    ) -> Loaded:
        """Return the cached entry for `key`, creating it with `make` on a miss.

        Args:
            kind: lower-case letters, the beginning of the folder's name.
            key: plain values that determine the content.
            description: shown in the log and by `pets cache list`.
            size: the expected bytes.
            make: writes the entry's files into the folder it is given.
            load: reads the entry from its folder; returns what this returns.

        Raises:
            CacheError: The entry cannot be written.
        """
        name = _name(kind, key)
        if self.has(kind, key):
            with contextlib.suppress(FileNotFoundError):  # another process may clear it right now
                return self._load(name, description, load)
        with self._locked(name, description, size):
            try:
                if self._open(name, key):  # made by another process meanwhile
                    return self._load(name, description, load)
            except Damaged as why:
                log.warning("%s: %s; it is made again", self.folder / name, why)
            self._make(name, key, description, size, make)
            return load(self.folder / name)

    def has(self, kind: str, key: Mapping[str, Any]) -> bool:
        """Whether there is a usable entry for the key."""
        with contextlib.suppress(Damaged):
            return self._open(_name(kind, key), key) is not None
        return False

    def entries(self) -> list[Entry]:
        """Return all usable entries, last used first; damaged ones are logged.

        Raises:
            CacheError: The cache is not a folder.
        """
        entries = []
        for name in self._names():
            try:
                if entry := self._open(name):
                    entries.append(entry)
            except Damaged as why:
                log.warning("%s: %s", self.folder / name, why)
        return sorted(entries, key=lambda entry: entry.used, reverse=True)

    def clear(self) -> tuple[int, list[str]]:
        """Remove every entry and the leftovers of killed writers, and no other file of the folder.

        Returns:
            The freed bytes, and the names of entries that are being made now and were kept.

        Raises:
            CacheError: An entry cannot be removed.
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
        """The names of all entries, also of those that are not whole."""
        if not self.folder.exists():
            return []
        if not self.folder.is_dir():
            raise CacheError(f"cache_dir={self.folder}: is not a folder")
        names = [_PART.sub(r"\1", path.name) for path in self.folder.iterdir()]
        return sorted({name for name in names if _NAME.fullmatch(name)})

    def _load(self, name: str, description: str, load: Callable[[Path], Loaded]) -> Loaded:
        loaded = load(self.folder / name)
        log.info("%s: read from %s", description, self.given)
        with contextlib.suppress(OSError):
            os.utime(self.folder / name / ABOUT)
        return loaded

    def _open(self, name: str, key: Mapping[str, Any] | None = None) -> Entry | None:
        """The entry, or None if there is none. Raises Damaged."""
        folder = self.folder / name
        if not os.path.lexists(folder):
            return None
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            files = [folder / file for file in about["files"]]
            intact = about["files"] == checksums(files)
            size = sum(file.stat().st_size for file in files)
            entry = Entry(folder, str(about["description"]), about["key"], size)
        except FileNotFoundError as error:
            raise Damaged(f"damaged, {Path(error.filename).name} is missing") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise Damaged(f"damaged, cannot be read ({reason})") from error
        if not intact:
            raise Damaged("damaged, a file has changed since it was written")
        if key is not None and entry.key != _plain(key):
            raise Damaged("made for something else")
        return entry

    def _make(
        self,
        name: str,
        key: Mapping[str, Any],
        description: str,
        size: int,
        make: Callable[[Path], None],
    ) -> None:
        part = self.folder / f".part-{name}-{os.getpid()}"
        with self._errors(description, size):
            self._remove(name)
            if shutil.disk_usage(self.folder).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            part.mkdir()
        log.info("%s: %s in %s", description, megabytes(size), self.given)
        try:
            with self._errors(description, size, only_below=part):
                make(part)
            with self._errors(description, size):
                sums = checksums(sorted(part.iterdir()))
                about = {"description": description, "files": sums, "key": _plain(key)}
                (part / ABOUT).write_text(to_json(about, indent=1) + "\n", encoding="utf-8")
                for path in (*part.iterdir(), part):
                    to_disk(path)
                part.rename(self.folder / name)
                to_disk(self.folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

    def _remove(self, name: str) -> int:
        """Delete an entry and the leftovers of its killed writers; returns the bytes."""
        if os.path.lexists(self.folder / name):
            # Renamed first: nobody reads half an entry.
            (self.folder / name).rename(self.folder / f".part-{name}-removed{os.getpid()}")
        freed = 0
        for path in self.folder.glob(f".part-{name}-*"):
            if path.is_dir():
                freed += sum(file.stat().st_size for file in path.iterdir())
                shutil.rmtree(path)
            else:
                path.unlink()
        return freed

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.folder / f".{name}.lock")

    @contextlib.contextmanager
    def _locked(self, name: str, description: str, size: int) -> Iterator[None]:
        lock = self._lock(name)
        with self._errors(description, size):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("%s: another process is making it; waiting", description)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _errors(
        self, description: str, size: int, only_below: Path | None = None
    ) -> Iterator[None]:
        """Turn an OSError into a CacheError, if it is the cache's.

        Args:
            description: of the entry.
            size: its expected bytes.
            only_below: an error about a file elsewhere, such as a photo, is left as it is.
        """
        try:
            yield
        except Timeout:
            raise
        except OSError as error:
            other = error.filename is not None or error.errno not in (None, *_FULL)
            below = error.filename and Path(os.fsdecode(error.filename)).parent == only_below
            if only_below is not None and other and not below:
                raise
            raise self._unwritable(description, size, error) from error

    def _unwritable(self, description: str, size: int, error: OSError) -> CacheError:
        line = f"cache_dir={self.folder}: cannot be written ({error.strerror or error})"
        if error.errno not in _FULL:
            return CacheError(f"{line}; expected a folder of your own: cache_dir=...")
        free = shutil.disk_usage(existing(self.folder)).free
        return CacheError(
            f"{line}; {description} needs {megabytes(size)}, {megabytes(free)} are free. Make room "
            "(pets cache clear), or give a folder with room: cache_dir=..."
        )


def _name(kind: str, key: Mapping[str, Any]) -> str:
    text = to_json(key, sort_keys=True)
    return f"{kind}-{blake2b(text.encode(), digest_size=16).hexdigest()}"


def _plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples become lists."""
    return json.loads(to_json(value))
