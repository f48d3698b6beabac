"""Blocks of photos, and finished blocks on disk: one Parquet file each, written atomically.

A shard records its photos and settings in its metadata, so that a stopped command can resume.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pets.io.atomic import regular, write_atomically
from pets.io.serialize import to_json
from pets.prediction.remote import is_remote
from pets.system.signals import deferred

log = logging.getLogger(__name__)
_KEY = b"pets"  # key of a shard's metadata


@dataclass(frozen=True)
class Block:
    """The `index`-th block of a source: the addresses of consecutive photos."""

    index: int
    files: Sequence[str]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the addresses in their order, with size and time of local files.

        Cameras reuse names such as IMG_0001.
        """
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(file.encode("utf-8", "surrogateescape") + b"\0")
            if not is_remote(file):
                with contextlib.suppress(OSError):
                    stat = os.stat(file)  # noqa: PTH116 - a name need not be text
                    digest.update(f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
        return digest.hexdigest()


def blocks_of(files: Sequence[str], size: int) -> list[Block]:
    """Split the files into blocks of `size`, in their order; the last may be smaller."""
    starts = range(0, len(files), size)
    return [Block(index, files[start : start + size]) for index, start in enumerate(starts)]


class Shards:
    """The shards of one prediction in a folder; pandas, pyarrow and DuckDB read it as one table.

    `settings` are plain values: everything that affects the predictions except the photos.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings

    def file(self, block: Block) -> Path:
        return self.folder / f"part-{block.index:06d}.parquet"

    def files(self) -> list[Path]:
        """Return the existing shards."""
        return sorted(self.folder.glob("part-*.parquet"))

    def write(self, block: Block, table: pa.Table) -> None:
        """Write a block's rows atomically. Raises OSError if that fails."""
        about = {
            "files": block.fingerprint,
            "photos": len(table),
            "unreadable": len(table) - table["error"].null_count,
            "settings": self.settings,
        }
        content = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({_KEY: to_json(about)}), content)
        with deferred():
            write_atomically(self.file(block), content.getbuffer())

    def read(self, block: Block) -> pa.Table:
        """The rows of a shard."""
        # Not read_table: it takes folders named a=b for partition columns.
        with pq.ParquetFile(regular(self.file(block))) as shard:
            return shard.read()

    def unreadable(self, block: Block) -> int | None:
        """Number of unreadable photos in a finished block; None if the block is unfinished.

        A block is unfinished if its shard is missing, damaged, or of other photos or settings.
        """
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):  # Arrow's derive
            about = json.loads(pq.read_schema(regular(self.file(block))).metadata[_KEY])
            if (about["files"], about["settings"]) == (block.fingerprint, self.settings):
                return int(about["unreadable"])
        return None

    def unfinished(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks still to be predicted, reporting stale shards that they replace."""
        unfinished = [block for block in blocks if self.unreadable(block) is None]
        if stale := sum(self.file(block).exists() for block in unfinished):
            log.warning(
                "%s: replacing %s parts that are damaged, or of other photos or settings",
                self.folder, f"{stale:,}",
            )  # fmt: skip
        return unfinished

    def keep_only(self, blocks: Sequence[Block]) -> None:
        """Remove all other shards, of an earlier prediction with more photos."""
        others = set(self.files()) - {self.file(block) for block in blocks}
        if others:
            log.warning("%s: removing %s parts of photos that are gone", self.folder, len(others))
        for file in others:
            file.unlink()

    def foreign_files(self) -> list[str]:
        """Names of the Parquet files in the folder that `pets predict` did not write."""
        names = []
        for file in sorted(self.folder.glob("*.parquet")):
            with contextlib.suppress(OSError, ValueError):  # a damaged one may have been a shard
                if _KEY not in (pq.read_schema(regular(file)).metadata or {}):
                    names.append(file.name)
        return names
