"""Entries of a cache on disk: found whole or not at all, made by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from pets.cache.files import CannotWrite, existing, megabytes, sums, to_disk
from pets.cache.memo_store import cache_folder
from pets.errors import CacheError
from pets.io.serialize import to_json

log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")

ABOUT = "about.json"
_PART = ".part-"
# An entry's folder, and whatever of the cache belongs to one.
_NAME = re.compile(r"[a-z]+-[0-9a-f]{32}")
_OURS = re.compile(rf"(?:\{_PART})?({_NAME.pattern})(?:-\w+)?")


@dataclass(frozen=True)
class Entry:
    """A finished entry: a folder whose files are described by its `about.json`."""

    folder: Path
    words: str
    key: Any
    bytes: int

    @property
    def used(self) -> datetime:
        """When it was last asked for."""
        return datetime.fromtimestamp((self.folder / ABOUT).stat().st_mtime, UTC)


class Store:
    """A folder of entries, each named by its kind and a hash of its key.

    An entry is made in a folder of its own and gets its name when all of it is on disk: a writer
    that is killed leaves nothing that could be taken for whole. Several processes may ask for the
    same entry: one makes it, the others wait. Entries that are there can be read from a folder that
    cannot be written. What an entry holds is compared with its checksums before it is used.
    """

    def __init__(self, folder: str | Path) -> None:
        self.named, self.folder = folder, cache_folder(folder)

    def get(
        self,
        kind: str,
        key: Mapping[str, Any],
        words: str,
        size: int,
        make: Callable[[Path], None],
        load: Callable[[Path], Loaded],
    ) -> Loaded:
        """What `load(folder)` opens of the entry of a key (plain values), made by `make(folder)`
        where there is none yet.

        `words` say what it is, `size` how many bytes it will take. Raises CacheError where it
        cannot be written.
        """
        name = _name(kind, key)
        if self.has(kind, key):
            # Another process may clear it at this moment.
            with contextlib.suppress(FileNotFoundError):
                return self._found(name, words, load)
        with self._locked(name, words, size):
            found = self._open(name, key)
            if isinstance(found, Entry):  # another process has made it meanwhile
                return self._found(name, words, load)
            if found is not None:
                log.warning("%s: %s; it is made again", self.folder / name, found)
            self._make(name, key, words, size, make)
            return load(self.folder / name)

    def has(self, kind: str, key: Mapping[str, Any]) -> bool:
        """Whether there is a whole entry of the key."""
        return isinstance(self._open(_name(kind, key), key), Entry)

    def entries(self) -> list[Entry]:
        """All that are whole, those used last first; says which are not. Raises CacheError where
        the cache is no folder."""
        found = []
        for name in self._names(_NAME):
            entry = self._open(name)
            if isinstance(entry, Entry):
                found.append(entry)
            else:
                log.warning("%s: %s", self.folder / name, entry)
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def clear(self) -> tuple[int, list[str]]:
        """Remove every entry and what killed writers left, nothing else of the folder.

        Returns the freed bytes and the names of entries that are being made at this moment, which
        are left. Raises CacheError where something cannot be removed.
        """
        freed, busy = 0, []
        for name in self._names(_OURS):
            with self._says_what_failed("clearing", 0):
                lock = self._lock(name)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    busy.append(name)
                    continue
                try:
                    freed += self._remove(name)
                finally:
                    lock.release()
        return freed, busy

    def _names(self, pattern: re.Pattern[str]) -> list[str]:
        if not self.folder.exists():
            return []
        if not self.folder.is_dir():
            raise CacheError(f"cache_dir={self.folder}: is no folder")
        matches = [pattern.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted({match[match.re.groups] for match in matches if match})

    def _found(self, name: str, words: str, load: Callable[[Path], Loaded]) -> Loaded:
        loaded = load(self.folder / name)
        log.info("%s: found in %s", words, self.named)
        with contextlib.suppress(OSError):
            os.utime(self.folder / name / ABOUT)
        return loaded

    def _open(self, name: str, key: Mapping[str, Any] | None = None) -> Entry | str | None:
        """The entry; why it cannot be used; None where there is none."""
        folder = self.folder / name
        if not os.path.lexists(folder):
            return None
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            files = [folder / file for file in about["files"]]
            if about["files"] != dict(zip(about["files"], sums(files), strict=True)):
                return "damaged, a file is not what was written"
            size = sum(file.stat().st_size for file in files)
            entry = Entry(folder, str(about["words"]), about["key"], size)
        except FileNotFoundError as error:
            return f"damaged, {Path(error.filename).name} is missing"
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            return f"damaged, cannot be read ({type(error).__name__}: {error})"
        if key is not None and entry.key != _plain(key):
            return "made for something else"
        return entry

    def _make(
        self,
        name: str,
        key: Mapping[str, Any],
        words: str,
        size: int,
        make: Callable[[Path], None],
    ) -> None:
        part = self.folder / f"{_PART}{name}-{os.getpid()}"
        with self._says_what_failed(words, size):
            self._remove(name)
            if shutil.disk_usage(self.folder).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            part.mkdir()
        log.info("%s: %s in %s", words, megabytes(size), self.named)
        began = time.perf_counter()
        try:
            try:
                make(part)
            except CannotWrite as error:
                raise self._unwritable(words, size, error.reason) from error
            with self._says_what_failed(words, size):
                files = sorted(part.iterdir())
                about = {
                    "words": words,
                    "made": datetime.now(UTC).isoformat(timespec="seconds"),
                    "seconds": round(time.perf_counter() - began, 3),
                    "files": dict(zip((f.name for f in files), sums(files), strict=True)),
                    "key": _plain(key),
                }
                (part / ABOUT).write_text(to_json(about, indent=1) + "\n", encoding="utf-8")
                for path in (*part.iterdir(), part):
                    to_disk(path)
                part.rename(self.folder / name)
                to_disk(self.folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

    def _remove(self, name: str) -> int:
        """An entry and what killed writers of it left; its lock is held. Returns the bytes."""
        freed = self._remove_parts(name)
        if os.path.lexists(self.folder / name):
            # By another name first: nobody sees half an entry.
            (self.folder / name).rename(self.folder / f"{_PART}{name}-gone")
            freed += self._remove_parts(name)
        return freed

    def _remove_parts(self, name: str) -> int:
        freed = 0
        for path in self.folder.glob(f"{_PART}{name}-*"):
            if not path.is_dir():
                path.unlink()
                continue
            freed += sum(file.stat().st_size for file in path.iterdir())
            shutil.rmtree(path)
        return freed

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.folder / f".{name}.lock")

    @contextlib.contextmanager
    def _locked(self, name: str, words: str, size: int) -> Iterator[None]:
        lock = self._lock(name)
        with self._says_what_failed(words, size):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("%s: another process is making it; waiting", words)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _says_what_failed(self, words: str, size: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unwritable(words, size, error) from error

    def _unwritable(self, words: str, size: int, error: OSError) -> CacheError:
        where = f"cache_dir={self.folder}: cannot be written ({error.strerror or error})"
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return CacheError(f"{where}; expected a folder of your own: cache_dir=...")
        free = shutil.disk_usage(existing(self.folder)).free
        return CacheError(
            f"{where}; {words} needs {megabytes(size)}, {megabytes(free)} are free. Make room "
            "(pets cache clear), or give a folder with room: cache_dir=..."
        )


def _name(kind: str, key: Mapping[str, Any]) -> str:
    text = to_json(key, sort_keys=True)
    return f"{kind}-{blake2b(text.encode(), digest_size=16).hexdigest()}"


def _plain(value: Any) -> Any:
    """As it is after a trip through JSON: tuples are lists."""
    return json.loads(to_json(value))
