"""The records of an offline W&B run: its `.wandb` file, a log of LevelDB's format."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK, _HEADER = 32768, 7  # bytes; the file has a header of its own, as long as that of a chunk


def records(run: Path) -> Iterator[Record]:
    """Every record of a run directory's W&B files, the oldest file first."""
    for file in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        content, at, whole = file.read_bytes(), _HEADER, b""
        while at + _HEADER <= len(content):
            if _BLOCK - at % _BLOCK < _HEADER:
                at += _BLOCK - at % _BLOCK
                continue
            _, length, kind = struct.unpack("<IHB", content[at : at + _HEADER])
            if kind == 0:
                break
            whole += content[at + _HEADER : at + _HEADER + length]
            at += _HEADER + length
            if kind in (1, 4):  # all of it, or its last part
                yield Record.FromString(whole)
                whole = b""


def history(run: Path) -> list[dict[str, Any]]:
    """What was logged, a row for each call."""
    return [
        {(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
        for record in records(run)
        if record.HasField("history")
    ]


def config(run: Path) -> dict[str, Any]:
    """The hyperparameters, as they are at the end."""
    changes = (record.config for record in records(run) if record.HasField("config"))
    return {
        (i.key or ".".join(i.nested_key)): json.loads(i.value_json)
        for change in changes
        for i in change.update
    }
