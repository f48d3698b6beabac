"""Create or download a data set that does not exist yet, in one process."""

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
    """Call `data.prepare` if `data.root` does not exist; other processes wait for it.

    Raises:
        DataError: The data cannot be downloaded.
    """
    root = Path(config.root)
    if root.exists() or config.prepare is None:
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.lock")):
        if not root.exists():
            maker = config.prepare.target.rpartition(".")[2]
            log.info("%s does not exist yet; %s makes it", root, maker)
            build("data.prepare", config.prepare, root=root)


def prepare_photos(config: DataConfig) -> Photos:
    """Create or download the data if it does not exist, then collect its photos.

    An existing folder is used unchanged. Raises DataError.
    """
    make_data(config)
    return collect_photos(config)
