"""Overrides typed for a run that exists already."""

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
    """Override the run's own config with the typed keys.

    Args:
        values: the run's config, which is changed.
        cfg: the composed config, which has the typed values.
        overrides: as typed.
        may_change: whether a key may be overridden.
        refusal: the message for a key that may not.

    Returns:
        The overridden keys and their values.

    Raises:
        ConfigError: a key may not change.
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
        section[last] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        given[key] = section[last]
    return given


def say_whose_cache(run_dir: RunDir, config: LearnerConfig, overrides: Sequence[str]) -> None:
    """Where a run that is not trusted has a cache of its own, say that another one is used."""
    own = run_dir.read_config().get("cache_dir")
    typed = any(word.startswith("cache_dir=") for word in overrides)
    used = config.precompute.enabled or config.data.cache != "none"
    if used and not (typed or run_dir.trusted or own == config.cache_dir):
        log.warning(
            "cache_dir=%s is used, not the run's own %s: a run may come from anybody; type "
            "cache_dir=... or trust=true for another one", config.cache_dir, own,
        )  # fmt: skip
