"""Consecutive files of a source: what one process works on, and one file on disk holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice


@dataclass(frozen=True)
class Block:
    """The `index`-th block of a source and the addresses of its photos."""

    index: int
    files: list[str]

    @property
    def fingerprint(self) -> str:
        """Of the addresses in their order."""
        found = hashlib.sha256()
        for file in self.files:
            found.update(file.encode("utf-8", "surrogateescape") + b"\0")
        return found.hexdigest()


def blocks(files: Iterable[str], size: int) -> Iterator[Block]:
    """All files in their order, `size` in a block, fewer in the last."""
    left = iter(files)
    for index in count():
        block = Block(index, list(islice(left, size)))
        if not block.files:
            return
        yield block
