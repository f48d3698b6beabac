"""Where predictions are written: a file, or a folder of shards."""

from __future__ import annotations

import contextlib
import filecmp
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from pets.errors import ConfigError, some
from pets.io.atomic import replacing
from pets.io.serialize import to_json
from pets.prediction.formats import FORMATS
from pets.prediction.shards import Shards

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Output:
    """What `out=...` stands for.

    Attributes:
        path: a file, or a folder.
        folder: whether it is a folder, in which the shards stay.
        keep_earlier: rename an earlier file that differs; for names that the user did not choose:
            the same source may hold other photos today.
    """

    path: Path
    folder: bool
    keep_earlier: bool = False

    @classmethod
    def parse(cls, out: str) -> Output:
        """A folder where `out` ends in a slash or has no suffix, else a file.

        Raises:
            ConfigError: The format is unknown, or a folder has the file's name.
        """
        path = Path(out)
        suffix = path.suffix.lower()
        if out.endswith("/") or not suffix or (path.is_dir() and suffix not in FORMATS):
            return cls(path, True)
        if suffix not in FORMATS:
            raise ConfigError(
                f"out={out}: unknown format; expected {', '.join(FORMATS)}, or a folder: {out}/"
            )
        if path.is_dir():
            raise ConfigError(f"out={out}: is a folder; for shards in it: out={out}/")
        return cls(path, False)

    @classmethod
    def default(cls, folder: Path, name: str, identity: str, settings: Mapping[str, Any]) -> Output:
        """A CSV file in `folder`, a different one for each source and settings."""
        key = to_json([identity, settings]).encode("utf-8", "surrogateescape")
        digest = blake2b(key, digest_size=3).hexdigest()
        return cls(folder / f"{name}_{digest}.csv", folder=False, keep_earlier=True)

    @property
    def shards(self) -> Path:
        """The folder of the shards: beside a file, until that is whole."""
        return self.path if self.folder else self.path.with_name(f".{self.path.name}.parts")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the shards' folder and keep other processes out of it; it goes if it stays empty.

        Raises:
            ConfigError: Another process writes there, or it has Parquet files of others, which
                would be read as part of the table.
        """
        self.shards.mkdir(parents=True, exist_ok=True)
        lock = self.shards / ".lock"
        try:
            with FileLock(lock, timeout=0):
                try:
                    self._refuse_foreign_files()
                    yield
                finally:
                    lock.unlink(missing_ok=True)
        except Timeout as error:
            raise ConfigError(
                f"out={self.path}: another process is writing to {self.shards}"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                self.shards.rmdir()

    def _refuse_foreign_files(self) -> None:
        if foreign := Shards(self.shards, {}).foreign_files():
            raise ConfigError(
                f"out={self.path}: has Parquet files that are not of pets predict "
                f"({some(foreign)}); choose another folder"
            )

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise ConfigError where a file cannot be written inside the block."""
        try:
            yield
        except OSError as error:
            kept = self.shards.is_dir() and any(self.shards.glob("part-*"))
            hint = "; finished parts are kept, the same command goes on there" if kept else ""
            raise ConfigError(
                f"out={self.path}: cannot be written ({error.strerror or error}){hint}"
            ) from error

    def write(self, shards: Shards, count: int, schema: pa.Schema) -> None:
        """Write the rows of the first `count` shards as one file, in place only when it is whole.

        Raises:
            OSError: It cannot be written.
        """
        open_writer = FORMATS[self.path.suffix.lower()].open
        with (
            self.earlier_kept(),
            replacing(self.path) as part,
            open_writer(part, schema) as write_rows,
        ):
            for index in range(count):
                write_rows(shards.read(index))

    @contextlib.contextmanager
    def earlier_kept(self) -> Iterator[None]:
        """Rename an earlier file where the block writes a different one."""
        if not (self.keep_earlier and self.path.exists()):
            yield
            return
        names = (self.path.with_name(f"{self.path.stem}_{n}.csv") for n in count(1))
        earlier = next(name for name in names if not name.exists())
        self.path.rename(earlier)
        try:
            yield
        finally:
            if not self.path.exists():
                earlier.rename(self.path)
        if filecmp.cmp(earlier, self.path, shallow=False):
            earlier.unlink()
        else:
            log.warning("%s: the earlier one is kept as %s", self.path, earlier.name)
