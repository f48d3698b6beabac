"""`pets compare`: compare two runs on the same photos, one by one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pets.config import CompareConfig
from pets.config.validation import typed

if TYPE_CHECKING:
    from pets.comparison.comparison import Comparison

SCHEMA = CompareConfig
WORSE = 3  # the exit code; 1 is for invalid arguments
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Comparison:
    """Compare, log and write. Raises SystemExit if `fail_on` says that the new run fails."""
    config = typed(CompareConfig, cfg)
    from pets.run_dir import RunDir, from_here

    old, new = (
        RunDir.open_finished(path, config.trust, key)
        for key, path in (("old", config.old), ("new", config.new))
    )

    from hydra.core.hydra_config import HydraConfig

    from pets.comparison.comparison import compare_runs
    from pets.comparison.verdict import verdict
    from pets.comparison.write import write_comparison
    from pets.system.cpu import keep_freed_memory
    from pets.training.checkpoints import load_run
    from pets.training.library_logs import silence_lightning
    from pets.training.trainer import check_trainer

    silence_lightning()
    keep_freed_memory()
    check_trainer(config.trainer)
    before, after = (
        load_run(run, config.ckpt).fed_by(config.data, config.trainer) for run in (old, new)
    )
    comparison = compare_runs(before, after, config)
    log.info("\nold     %s\nnew     %s\n", old.path, new.path)
    for sentence in verdict(comparison):
        if sentence not in comparison.notes:  # logged before
            log.info("%s", sentence)
    files = write_comparison(
        comparison, from_here(HydraConfig.get().runtime.output_dir), config.shown
    )
    log.info("")
    for name, file in zip(("page", "text", "values"), files, strict=True):
        log.info("%-7s %s", name, file)
    if comparison.paired.fails(config.fail_on):
        log.error("fail_on=%s: fewer photos right; exit code %d", config.fail_on, WORSE)
        raise SystemExit(WORSE)
    return comparison
