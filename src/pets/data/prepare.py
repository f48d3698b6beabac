"""Data that is not there yet: made or fetched, by one process."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock

from pets.config import DataConfig
from pets.config.instantiate import build

log = logging.getLogger(__name__)


def make_data(config: DataConfig) -> None:
    """Make or fetch the data where it is not there yet; other processes that want the same wait.
    Raises DataError."""
    root = Path(config.root)
    if root.exists() or config.prepare is None:
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.lock")):
        if not root.exists():
            log.info("%s is not there yet: %s", root, config.prepare.target.rpartition(".")[2])
            build("data.prepare", config.prepare, root=root)
