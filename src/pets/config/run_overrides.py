"""Overrides typed for an existing run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from pets.errors import ConfigError

if TYPE_CHECKING:
    from pets.config import LearnerConfig
    from pets.run_dir import RunDir

log = logging.getLogger(__name__)


def put_over(
    values: dict[str, Any],
    cfg: DictConfig,
    overrides: Sequence[str],
    may_change: Callable[[str], bool],
    refusal: str,
) -> dict[str, Any]:
    """Apply the overrides to the run's own config `values`; return the changed keys and values.

    `cfg` is the composed config, which has the typed values. Raises ConfigError with the `refusal`
    for an override of a key that may not change.
    """
    given: dict[str, Any] = {}
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if not may_change(key):
            raise ConfigError(f"{override}: {refusal}")
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section.setdefault(name, {})
        if override.startswith("~"):
            section.pop(last, None)
            continue
        value = OmegaConf.select(cfg, key)
        given[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        section[last] = given[key]
    return given


def warn_about_cache(run_dir: RunDir, config: LearnerConfig, overrides: Sequence[str]) -> None:
    """Warn if the `cache_dir` of an untrusted run is ignored."""
    own = run_dir.read_config().get("cache_dir")
    typed = any(override.startswith("cache_dir=") for override in overrides)
    used = config.precompute.enabled or config.data.cache != "none"
    if used and not (typed or run_dir.trusted or own == config.cache_dir):
        log.warning(
            "cache_dir=%s is used, not the run's own %s: the run is not trusted; type "
            "cache_dir=... or trust=true for another one", config.cache_dir, own,
        )  # fmt: skip
