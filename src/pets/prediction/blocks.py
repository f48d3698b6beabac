"""Consecutive files of a source: what one process works on, and one file on disk holds."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice

from pets.prediction.filesystems import remote


@dataclass(frozen=True)
class Block:
    """The `index`-th block of a source and the addresses of its photos."""

    index: int
    files: list[str]

    @cached_property
    def fingerprint(self) -> str:
        """Of the addresses in their order, with size and time of local files: cameras number from
        IMG_0001 again on every card."""
        found = hashlib.sha256()
        for file in self.files:
            found.update(file.encode("utf-8", "surrogateescape") + b"\0")
            if not remote(file):
                with contextlib.suppress(OSError):
                    about = os.stat(file)  # noqa: PTH116 - a name need not be text
                    found.update(f"{about.st_size} {about.st_mtime_ns}\0".encode())
        return found.hexdigest()


def blocks(files: Iterable[str], size: int) -> Iterator[Block]:
    """All files in their order, `size` in a block, fewer in the last."""
    left = iter(files)
    for index in count():
        block = Block(index, list(islice(left, size)))
        if not block.files:
            return
        yield block
