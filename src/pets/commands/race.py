"""`pets race`: which backbone suits these photos: error, speed and size of each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pets.config import RaceConfig

if TYPE_CHECKING:
    from pets.probe.race_result import RaceResult

SCHEMA = RaceConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> RaceResult:
    """Fit a head to the features of each backbone, and write how they compare."""
    from hydra.core.hydra_config import HydraConfig

    from pets.probe.features import data_overrides, probe_config
    from pets.probe.race import run_race
    from pets.probe.race_result import RaceResult
    from pets.run_dir import from_here

    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    config, run_dir = probe_config(RaceConfig, cfg, overrides)
    result = RaceResult(run_race(config, run_dir), data_overrides(overrides, run_dir))
    for line in result.write(from_here(hydra.runtime.output_dir)):
        log.info("%s", line)
    return result
