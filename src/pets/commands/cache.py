"""`pets cache`: list or clear cached results."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from pets.config import CacheConfig
from pets.config.validation import typed

SCHEMA = CacheConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """List the entries, or remove them."""
    config = typed(CacheConfig, cfg)
    from pets.cache import memo
    from pets.cache.store import Store, megabytes

    store = Store(config.cache_dir)
    if config.action == "clear":
        freed, busy = store.clear()
        freed += memo.clear(store.folder)
        log.info("%s: %s freed", store.folder, megabytes(freed))
        for name in busy:
            log.warning("%s: is being written by another process; kept", store.folder / name)
        return
    entries = store.entries()
    for entry in entries:
        used = entry.used.astimezone().strftime("%Y-%m-%d %H:%M")
        log.info("%10s  used %s  %s", megabytes(entry.bytes), used, entry.description)
    total = sum(entry.bytes for entry in entries)
    count = "1 entry" if len(entries) == 1 else f"{len(entries):,} entries"
    log.info("%s: %s, %s", store.folder, count, megabytes(total))
