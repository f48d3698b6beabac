"""`pets models`: list the backbones: size, licence, and whether the weights are here."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from pets.config import ModelsConfig
from pets.config.validation import typed

SCHEMA = ModelsConfig
log = logging.getLogger(__name__)

# More rows are not read, and each network has to be built to count its parameters.
_ROWS = 40


def run(cfg: DictConfig) -> None:
    """Show the configs in `conf/model/`, or timm's architectures that match a pattern."""
    config = typed(ModelsConfig, cfg)
    from pets.errors import ConfigError
    from pets.models.catalogue import configured, entry_of, matching, of_timm

    if config.pattern is None:
        entries, more = configured(), 0
    else:
        names = matching(config.pattern)
        if not names:
            raise ConfigError(
                f"pattern={config.pattern}: timm has no architecture of such a name with "
                "pretrained weights; * stands for anything: pets models 'vit*dino*'"
            )
        entries, more = of_timm(*names[:_ROWS]), len(names) - _ROWS
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
