"""`pets curve`: what more photos would bring, for all classes and for each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pets.config import CurveConfig

if TYPE_CHECKING:
    from pets.probe.curve_result import CurveResult

SCHEMA = CurveConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> CurveResult:
    """Fit heads to more and more photos, and write what the curve foretells."""
    from hydra.core.hydra_config import HydraConfig

    from pets.probe.curve import run_curve
    from pets.probe.curve_result import CurveResult
    from pets.probe.features import probe_config
    from pets.run_dir import from_here

    hydra = HydraConfig.get()
    config, run_dir = probe_config(CurveConfig, cfg, list(hydra.overrides.task))
    result = CurveResult(run_curve(config, run_dir))
    for line in result.write(from_here(hydra.runtime.output_dir)):
        log.info("%s", line)
    return result
