"""Blocks of photos, and finished blocks on disk: one Parquet file each, whole or absent.

A shard says in its metadata which photos and settings it was made of, so that a command that was
stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pets.io.atomic import write_atomically
from pets.io.serialize import to_json
from pets.prediction.filesystems import is_remote
from pets.system.signals import deferred

log = logging.getLogger(__name__)
_KEY = b"pets"  # of a shard's metadata


@dataclass(frozen=True)
class Block:
    """The `index`-th block of a source: the addresses of consecutive photos."""

    index: int
    files: list[str]

    @cached_property
    def fingerprint(self) -> str:
        """Of the addresses in their order, with size and time of local files: a camera starts
        again with IMG_0001 on every card."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(file.encode("utf-8", "surrogateescape") + b"\0")
            if not is_remote(file):
                with contextlib.suppress(OSError):
                    stat = os.stat(file)  # noqa: PTH116 - a name need not be text
                    digest.update(f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
        return digest.hexdigest()


def blocks_of(files: Iterable[str], size: int) -> Iterator[Block]:
    """All files in their order, `size` in a block, fewer in the last."""
    remaining = iter(files)
    for index in count():
        block = Block(index, list(islice(remaining, size)))
        if not block.files:
            return
        yield block


@dataclass(frozen=True)
class ShardInfo:
    """A shard's metadata: the fingerprint of its photos, how many there are, how many of them could
    not be read, and the settings that its numbers depend on."""

    files: str
    photos: int
    unreadable: int
    settings: dict[str, Any]


class Shards:
    """The shards of one prediction in a folder; pandas, pyarrow and DuckDB read it as one table."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self._reported: set[str] = set()

    def file(self, index: int) -> Path:
        return self.folder / f"part-{index:06d}.parquet"

    def files(self) -> list[Path]:
        """All shards that are there."""
        return sorted(self.folder.glob("part-*.parquet"))

    def write(self, block: Block, table: pa.Table) -> None:
        """Write a block's rows in one step. Raises OSError where that fails."""
        unreadable = len(table) - table["error"].null_count
        info = ShardInfo(block.fingerprint, len(table), unreadable, self.settings)
        content = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({_KEY: to_json(vars(info))}), content)
        with deferred():
            write_atomically(self.file(block.index), content.getbuffer())

    def info(self, index: int) -> ShardInfo | None:
        """The metadata of a shard; None where there is none, or where it is damaged."""
        try:
            schema = pq.read_schema(self.file(index))
            return ShardInfo(**json.loads((schema.metadata or {})[_KEY]))
        except (OSError, KeyError, TypeError, ValueError):  # Arrow's errors are among these
            return None

    def read(self, index: int) -> pa.Table:
        """The rows of a shard."""
        # Not read_table: it takes folders called a=b for columns.
        with pq.ParquetFile(self.file(index)) as shard:
            return shard.read()

    def has(self, block: Block) -> bool:
        """Whether the block is finished; a shard of other photos or settings is reported."""
        info = self.info(block.index)
        if info and (info.files, info.settings) == (block.fingerprint, self.settings):
            return True
        if info and info.settings != self.settings:
            changed = [k for k, v in sorted(self.settings.items()) if info.settings.get(k) != v]
            self._report(f"made with another {' and '.join(changed or ['version'])}")
        elif self.file(block.index).exists():
            self._report("of other photos, or damaged")
        return False

    def remove_from(self, first: int) -> None:
        """Remove the shards from this index on: an earlier prediction had more photos."""
        for file in self.files():
            index = file.stem.removeprefix("part-")
            if index.isdigit() and int(index) >= first and self.info(int(index)):
                self._report("of photos that are gone")
                file.unlink()

    def foreign_files(self) -> list[str]:
        """Names of the Parquet files in the folder that `pets predict` did not write."""
        names = []
        for file in sorted(self.folder.glob("*.parquet")):
            with contextlib.suppress(OSError, ValueError):  # a damaged one may have been a shard
                if _KEY not in (pq.read_schema(file).metadata or {}):
                    names.append(file.name)
        return names

    def _report(self, reason: str) -> None:
        if reason not in self._reported:
            self._reported.add(reason)
            log.warning("%s: replacing parts %s", self.folder, reason)
