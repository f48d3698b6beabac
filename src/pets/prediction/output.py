"""The output of predictions: a file, or a folder of shards."""

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
from pets.prediction.sources import Source, is_special
from pets.prediction.table import FORMATS


@dataclass(frozen=True)
class Output:
    """The output given by `out=...`: a file, or a `folder` that keeps the shards."""

    path: Path
    folder: bool = False

    @classmethod
    def parse(cls, out: str) -> Output:
        """Parse `out`: a folder if it ends in a slash or has no suffix, else a file.

        Raises:
            ConfigError: The format is unknown, or it is an existing folder, a pipe or a device.
        """
        path = Path(out)
        if is_special(out):
            raise ConfigError(
                f"out={out}: is not a regular file but a pipe, socket or device; expected a file "
                f"({', '.join(FORMATS)}) or a folder"
            )
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
        """A CSV file in `folder`, whose name depends on the photos and settings."""
        key = to_json([Block(0, source.files).fingerprint, settings])
        digest = blake2b(key.encode(), digest_size=4).hexdigest()
        # Long names are truncated, because suffixes are appended to them.
        name = source.name if len(os.fsencode(source.name)) <= 200 else source.name[:50]
        return cls(folder / f"{name}_{digest}.csv")

    @property
    def shards(self) -> Path:
        """The folder of the shards: for a file, a temporary one beside it."""
        return self.path if self.folder else self.path.with_name(f".{self.path.name}.parts")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create and lock the shards' folder for the block; remove it if it is still empty then.

        Raises:
            ConfigError: Another process is writing there, or it contains foreign Parquet files,
                which would be read as part of the table.
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
                    f"out={self.path}: contains Parquet files that pets predict did not write "
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
        """Turn an OSError of the block into a ConfigError about the output."""
        try:
            yield
        except OSError as error:
            kept = self.shards.is_dir() and any(self.shards.glob("part-*"))
            hint = "; finished shards are kept, rerun the same command to resume" if kept else ""
            raise ConfigError(
                f"out={self.path}: cannot be written ({error.strerror or error}){hint}"
            ) from error
