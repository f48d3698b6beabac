"""Where predictions are written: a file, or a folder of shards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pets.errors import ConfigError, some
from pets.io.serialize import to_json
from pets.prediction.shards import Block, Shards
from pets.prediction.sources import Source
from pets.prediction.table import FORMATS


@dataclass(frozen=True)
class Output:
    """What `out=...` stands for: a file, or a `folder` in which the shards stay."""

    path: Path
    folder: bool = False

    @classmethod
    def parse(cls, out: str) -> Output:
        """A folder where `out` ends in a slash or has no suffix, else a file.

        Raises:
            ConfigError: The format is unknown, or a folder has the file's name.
        """
        path = Path(out)
        suffix = path.suffix.lower()
        if out.endswith("/") or not suffix or (path.is_dir() and suffix not in FORMATS):
            return cls(path, folder=True)
        if suffix not in FORMATS:
            raise ConfigError(
                f"out={out}: unknown format; expected {', '.join(FORMATS)}, or a folder: {out}/"
            )
        if path.is_dir():
            raise ConfigError(f"out={out}: is a folder; for shards in it: out={out}/")
        return cls(path)

    @classmethod
    def default(cls, folder: Path, source: Source, settings: dict[str, Any]) -> Output:
        """A CSV file in `folder`, a different one for other photos or settings."""
        key = to_json([Block(0, source.files).fingerprint, settings])
        digest = blake2b(key.encode(), digest_size=4).hexdigest()
        # A long name is cut, so that there is room for the names that are made of it.
        name = source.name if len(os.fsencode(source.name)) <= 200 else source.name[:50]
        return cls(folder / f"{name}_{digest}.csv")

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
        lock = FileLock(self.shards / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            line = f"out={self.path}: another process is writing to {self.shards}"
            raise ConfigError(line) from error
        try:
            if foreign := Shards(self.shards, {}).foreign_files():
                raise ConfigError(
                    f"out={self.path}: has Parquet files that are not of pets predict "
                    f"({some(foreign)}); choose another folder"
                )
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
            with contextlib.suppress(OSError):
                self.shards.rmdir()

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
