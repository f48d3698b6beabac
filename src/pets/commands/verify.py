"""`pets verify`: check the photos before training fails on them."""

from __future__ import annotations

import logging
import shlex
import time

from omegaconf import DictConfig

from pets.config import VerifyConfig
from pets.config.validation import typed
from pets.io.serialize import to_override

SCHEMA = VerifyConfig
FOUND = 3  # the exit code; 1 is for invalid arguments
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Find problems, log and write them. Raises SystemExit if one is as severe as `fail_on`."""
    config = typed(VerifyConfig, cfg)
    from hydra.core.hydra_config import HydraConfig

    from pets.cache import memo
    from pets.data.prepare import make_data
    from pets.run_dir import from_here
    from pets.verify.verification import verify
    from pets.verify.write import table, write_findings

    memo.use_folder(config.cache_dir)
    hydra = HydraConfig.get()
    folder = from_here(hydra.runtime.output_dir)
    make_data(config.data)
    began = time.perf_counter()
    verification = verify(config)
    for line in table(verification, time.perf_counter() - began):
        log.info(line)
    csv, page = write_findings(verification, folder, config.shown)
    log.info("")
    log.info("table  %s", csv)
    log.info("page   %s", page)
    if excluded := len(verification.excluded):
        keys = [word for word in hydra.overrides.task if word.startswith("data.")]
        words = [f"data={hydra.runtime.choices['data']}", *keys, to_override("data.exclude", csv)]
        log.info("\nnext, to leave out %s photo%s:", f"{excluded:,}", "s" if excluded > 1 else "")
        log.info("  pets train %s", shlex.join(words))
    if config.fail_on != "never" and verification.worst_is(config.fail_on):
        raise SystemExit(FOUND)
