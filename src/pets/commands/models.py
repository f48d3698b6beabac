"""`pets models`: list the backbones: size, licence, and whether the weights are here."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from pets.config import ModelConfig, ModelsConfig
from pets.config.validation import typed

SCHEMA = ModelsConfig
log = logging.getLogger(__name__)

# More rows are not read, and each network has to be built to count its parameters.
_ROWS = 40
# They name no architecture.
_OPEN = ("base", "timm", "torchvision")


def run(cfg: DictConfig) -> None:
    """Show the configs in `conf/model/`, or timm's architectures that match a pattern."""
    config = typed(ModelsConfig, cfg)
    from pets.errors import ConfigError
    from pets.models.catalogue import entry_of, matching

    if config.pattern is None:
        entries, more = _configs(), 0
    else:
        names = matching(config.pattern)
        if not names:
            raise ConfigError(
                f"pattern={config.pattern}: timm has no architecture of such a name with "
                "pretrained weights; * stands for anything: pets models 'vit*dino*'"
            )
        entries, more = {name: _of_timm(name) for name in names[:_ROWS]}, len(names) - _ROWS
    rows = [entry_of(name, model) for name, model in entries.items()]
    width = max(len(row.name) for row in rows)
    log.info("%s  parameters    input  weights   licence", "name".ljust(width))
    for row in rows:
        here = "here" if row.is_here else "download"
        count = f"{row.parameters / 1e6:,.1f} M"
        log.info("%s  %10s  %4d px  %-8s  %s", row.name.ljust(width), count, row.size, here,
                 row.licence)  # fmt: skip
    if more > 0:
        log.info("%s more match; narrow the pattern", f"{more:,}")
    if config.pattern is None:
        log.info("train one: pets train model=<name>; find more: pets models 'vit*dino*'")
    else:
        log.info("train one: pets train model=timm model.name=<name>")


def _configs() -> dict[str, ModelConfig]:
    """The configs of the group `model`, with those of `--config-dir`."""
    from hydra.core.global_hydra import GlobalHydra

    names = GlobalHydra.instance().config_loader().get_group_options("model")
    return {name: _composed(f"model={name}") for name in names if name not in _OPEN}


def _of_timm(name: str) -> ModelConfig:
    return _composed("model=timm", "model.name=any").model_copy(update={"name": name})


def _composed(*overrides: str) -> ModelConfig:
    """The model of `pets train` with these overrides."""
    from hydra import compose

    return typed(ModelConfig, compose("train", list(overrides)).model)
