"""`pets verify`: check the photos before a training fails on them."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from omegaconf import DictConfig

from pets.config import VerifyConfig
from pets.config.validation import typed

SCHEMA = VerifyConfig
FOUND = 3  # the exit code; 1 is a mistake in what was typed
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Find, say and write down what is wrong. Raises SystemExit where that is grave enough."""
    config = typed(VerifyConfig, cfg)
    from hydra.core.hydra_config import HydraConfig

    from pets.cache import memo
    from pets.data.prepare import make_data
    from pets.verify.verification import verify
    from pets.verify.write import table, write_findings

    memo.use_folder(config.cache_dir)
    folder = Path(HydraConfig.get().runtime.output_dir)
    make_data(config.data)
    began = time.perf_counter()
    found = verify(config)
    for line in table(found, time.perf_counter() - began):
        log.info(line)
    csv, page = write_findings(found, folder, config.shown)
    log.info("")
    log.info("table  %s", csv)
    log.info("page   %s", page)
    if found.excluded:
        log.info("data.exclude=%s leaves out %s photos", csv, f"{len(found.excluded):,}")
    if config.fail_on != "never" and found.worst_is(config.fail_on):
        raise SystemExit(FOUND)
