"""What was typed over the config of a run that exists already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pets.errors import ConfigError


def put_over(
    values: dict[str, Any],
    cfg: DictConfig,
    overrides: Sequence[str],
    may_change: Callable[[str], bool],
    refusal: str,
) -> dict[str, Any]:
    """Put the typed keys of `cfg` over the run's own `values`; returns them with their values.

    Raises ConfigError with the word and the `refusal` for a key that may not change.
    """
    given: dict[str, Any] = {}
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~")
        if not may_change(key):
            raise ConfigError(f"{word}: {refusal}")
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section.setdefault(name, {})
        if word.startswith("~"):
            section.pop(last, None)
            continue
        value = OmegaConf.select(cfg, key)
        section[last] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        given[key] = section[last]
    return given
