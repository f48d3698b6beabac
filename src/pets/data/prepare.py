"""Data that is not there yet is made or fetched, by one process; then its photos are collected."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock

from pets.config import DataConfig
from pets.config.instantiate import build
from pets.data.collect import collect_photos
from pets.data.photos import Photos

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


def prepare_photos(config: DataConfig) -> Photos:
    """Make or fetch the data where it is not there yet, then collect its photos.

    A folder that exists is used as it is. Raises DataError.
    """
    make_data(config)
    return collect_photos(config)
