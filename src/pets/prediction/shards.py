"""Finished blocks on disk: a Parquet file each, whole or not there, that says what it is."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pets.io.atomic import write_atomically
from pets.io.serialize import to_json
from pets.prediction.blocks import Block
from pets.system.signals import deferred

log = logging.getLogger(__name__)
_ABOUT = b"pets"


@dataclass(frozen=True)
class About:
    """What a shard says of itself: the fingerprint of its files, how many there are and how many of
    them could not be read, and the settings that its numbers depend on."""

    files: str
    photos: int
    unreadable: int
    settings: dict[str, Any]


class Shards:
    """The shards of one prediction in a folder; pandas, pyarrow and DuckDB read that as a table."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self._said: set[str] = set()

    def file(self, index: int) -> Path:
        return self.folder / f"part-{index:06d}.parquet"

    def write(self, block: Block, table: pa.Table) -> None:
        """Put a block in place in one step. Raises OSError where it cannot be written."""
        unreadable = len(table) - table["error"].null_count
        about = About(block.fingerprint, len(table), unreadable, self.settings)
        meta = {_ABOUT: to_json(vars(about))}
        content = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(meta), content)
        with deferred():
            write_atomically(self.file(block.index), content.getbuffer())

    def about(self, index: int) -> About | None:
        """Of a shard; None where there is none, or none of ours."""
        try:
            schema = pq.read_schema(self.file(index))
            return About(**json.loads((schema.metadata or {})[_ABOUT]))
        except (OSError, KeyError, TypeError, ValueError):  # Arrow's errors are among these
            return None

    def strangers(self) -> list[str]:
        """Names of Parquet files here that can be read and are not of a prediction."""
        found = []
        for file in sorted(self.folder.glob("*.parquet")):
            with contextlib.suppress(OSError, ValueError):  # damaged: it can have been ours
                if _ABOUT not in (pq.read_schema(file).metadata or {}):
                    found.append(file.name)
        return found

    def has(self, block: Block) -> bool:
        """Whether the block is there, of the same files with the same settings. What is there
        instead is said."""
        about = self.about(block.index)
        if about is None:
            if self.file(block.index).exists():
                self._say("they cannot be read")
            return False
        if about.settings != self.settings:
            changed = sorted(
                key for key, value in self.settings.items() if about.settings.get(key) != value
            )
            self._say(f"they were made with another {' and '.join(changed or ['version'])}")
            return False
        if about.files != block.fingerprint:
            self._say("the files are not the same")
            return False
        return True

    def drop(self, first: int) -> None:
        """Remove the shards from this index on, of a prediction with more photos."""
        for file in sorted(self.folder.glob("part-*.parquet")):
            index = file.stem.removeprefix("part-")
            if index.isdigit() and int(index) >= first and self.about(int(index)):
                self._say("there are fewer files")
                file.unlink()

    def table(self, index: int) -> pa.Table:
        """The rows of a shard."""
        # Not read_table: it takes folders called a=b for columns.
        with pq.ParquetFile(self.file(index)) as opened:
            return opened.read()

    def _say(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            log.warning("%s: parts are made anew or dropped, %s", self.folder, reason)
