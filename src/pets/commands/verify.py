"""`pets verify`: check the photos before training fails on them."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from omegaconf import DictConfig

from pets.config import VerifyConfig
from pets.config.validation import typed

SCHEMA = VerifyConfig
FOUND = 3  # the exit code; 1 is for invalid arguments
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Find problems, log and write them. Raises SystemExit if one is as severe as `fail_on`."""
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
    verification = verify(config)
    for line in table(verification, time.perf_counter() - began):
        log.info(line)
    csv, page = write_findings(verification, folder, config.shown)
    log.info("")
    log.info("table  %s", csv)
    log.info("page   %s", page)
    if verification.excluded:
        count = f"{len(verification.excluded):,}"
        log.info("data.exclude=%s leaves out %s photos", csv, count)
    if config.fail_on != "never" and verification.worst_is(config.fail_on):
        raise SystemExit(FOUND)
