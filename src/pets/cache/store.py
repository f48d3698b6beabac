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
from typing import Any

from filelock import FileLock, Timeout

from pets.errors import CacheError

log = logging.getLogger(__name__)

ABOUT = "about.json"
_PART = ".part-"
# An entry's folder, and whatever of the cache belongs to one.
_NAME = re.compile(r"[a-z]+-[0-9a-f]{32}")
_OURS = re.compile(rf"(?:\{_PART})?({_NAME.pattern})(?:-\w+)?")


@dataclass(frozen=True)
class Entry:
    """A finished entry: a folder whose files are described by its `about.json`."""

    folder: Path
    about: dict[str, Any]

    @property
    def bytes(self) -> int:
        """What its files hold."""
        return sum(self.about["files"].values())

    @property
    def used(self) -> datetime:
        """When it was last asked for."""
        return datetime.fromtimestamp((self.folder / ABOUT).stat().st_mtime, UTC)


class Store:
    """A folder of entries, each named by its kind and a hash of its key.

    An entry is made in a folder of its own and gets its name when all of it is on disk: a writer
    that is killed leaves nothing that could be taken for whole. Several processes may ask for the
    same entry: one makes it, the others wait. Entries that are there can be read from a folder that
    cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def get(
        self, kind: str, key: Mapping[str, Any], words: str, size: int, make: Callable[[Path], None]
    ) -> Entry:
        """The entry of a key (plain values), made by `make(folder)` where there is none yet.

        `words` say what it is, `size` how many bytes it will take. Raises CacheError where it
        cannot be written.
        """
        name = f"{kind}-{digest(key)}"
        found = self._open(name, key)
        if found is not None:
            log.info("%s: found in %s", words, self.folder)
            return self._touched(found)
        with self._says_what_failed(words, size):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked(name, words):
                found = self._open(name, key)
                if found is not None:  # another process has made it meanwhile
                    log.info("%s: found in %s", words, self.folder)
                    return found
                self._remove(name)
                if shutil.disk_usage(self.folder).free < size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                log.info("%s: %s in %s", words, megabytes(size), self.folder)
                return self._made(name, kind, key, words, make)

    def entries(self) -> list[Entry]:
        """All that are whole, those used last first."""
        if not self.folder.is_dir():
            return []
        found = (self._open(p.name) for p in self.folder.iterdir() if _NAME.fullmatch(p.name))
        return sorted((e for e in found if e is not None), key=lambda e: e.used, reverse=True)

    def clear(self) -> tuple[int, list[str]]:
        """Remove every entry and what killed writers left, nothing else of the folder.

        Returns the freed bytes and the names of entries that are being made at this moment, which
        are left. Raises CacheError where something cannot be removed.
        """
        if not self.folder.is_dir():
            return 0, []
        freed, busy = 0, []
        names = {m[1] for p in self.folder.iterdir() if (m := _OURS.fullmatch(p.name))}
        with self._says_what_failed("clearing", 0):
            for name in sorted(names):
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

    def _open(self, name: str, key: Mapping[str, Any] | None = None) -> Entry | None:
        """The entry where it is whole: every file there, of its length, made for this key."""
        folder = self.folder / name
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            whole = all((folder / f).stat().st_size == n for f, n in about["files"].items())
        except FileNotFoundError:
            if folder.is_dir():
                log.warning("%s: damaged, a file is missing; it is made again", folder)
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s: damaged, cannot be read (%s); it is made again", folder, error)
            return None
        if not whole:
            log.warning("%s: damaged, a file has been cut short; it is made again", folder)
            return None
        if key is not None and about["key"] != _plain(key):
            log.warning("%s: made for something else; it is made again", folder)
            return None
        return Entry(folder, about)

    def _made(
        self,
        name: str,
        kind: str,
        key: Mapping[str, Any],
        words: str,
        make: Callable[[Path], None],
    ) -> Entry:
        part = self.folder / f"{_PART}{name}-{os.getpid()}"
        part.mkdir()
        try:
            began = time.perf_counter()
            make(part)
            about = {
                "kind": kind,
                "words": words,
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.perf_counter() - began, 3),
                "files": {p.name: p.stat().st_size for p in sorted(part.iterdir())},
                "key": _plain(key),
            }
            (part / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            for file in part.iterdir():
                _to_disk(file)
            part.rename(self.folder / name)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return Entry(self.folder / name, about)

    def _remove(self, name: str) -> int:
        """An entry and what killed writers of it left; its lock is held. Returns the bytes."""
        if (self.folder / name).exists():
            # By another name first: nobody sees half an entry.
            (self.folder / name).rename(self.folder / f"{_PART}{name}-gone")
        freed = 0
        for folder in self.folder.glob(f"{_PART}{name}-*"):
            freed += sum(file.stat().st_size for file in folder.iterdir())
            shutil.rmtree(folder)
        return freed

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.folder / f".{name}.lock")

    @contextlib.contextmanager
    def _locked(self, name: str, words: str) -> Iterator[None]:
        lock = self._lock(name)
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
            where = f"cache_dir={self.folder}: cannot be written ({error.strerror or error})"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                free = shutil.disk_usage(existing(self.folder)).free
                where = f"{where}; {words} needs {megabytes(size)}, {megabytes(free)} are free"
                raise CacheError(
                    f"{where}. Make room (pets cache clear), or give a folder with room: "
                    "cache_dir=..."
                ) from error
            raise CacheError(f"{where}; expected a folder of your own: cache_dir=...") from error

    @staticmethod
    def _touched(entry: Entry) -> Entry:
        with contextlib.suppress(OSError):
            os.utime(entry.folder / ABOUT)
        return entry


def digest(value: Any) -> str:
    """A hash of plain values, the same for the same values in any process."""
    text = json.dumps(_plain(value), sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def megabytes(size: int) -> str:
    """Bytes for people: 3.1 MB, 240 MB, 1,250 MB."""
    number = size / 1e6
    return f"{number:,.0f} MB" if number >= 10 else f"{number:.1f} MB"


def _plain(value: Any) -> Any:
    """As it is after a trip through JSON: tuples are lists."""
    return json.loads(json.dumps(value))


def _to_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder
