"""Compose the configs of a sweep's jobs: by Hydra, or from its config where only values differ."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

# Values that Hydra sets after composing, as they are.
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class _Composed:
    """What Hydra made of a job: its config without Hydra's own node, and its overrides."""

    task: DictConfig
    overrides: Sequence[str]
    own: bool  # it refers to Hydra's node, which differs from job to job


class Composer:
    """Composes one job after another from the same command line.

    Hydra takes a fifth of a second for each. Jobs that choose the same options of config groups and
    set the same keys differ only in values, which Hydra sets at the end.

    Args:
        context: Hydra's config loader.
        sweep: The config of the sweep.
    """

    def __init__(self, context: HydraContext, sweep: DictConfig) -> None:
        self.loader, self.sweep = context.config_loader, sweep
        self.parser = OverridesParser.create(self.loader)
        self.groups: dict[str, bool] = {}  # whether a key is a config group
        self.composed: dict[tuple[str, ...], _Composed] = {}

    def compose(self, job: Sequence[str]) -> tuple[DictConfig, list[str]]:
        """Return a job's config and its overrides, without those of Hydra itself."""
        parsed = self.parser.parse_overrides(list(job))
        times = Counter(o.key_or_group for o in parsed)
        once = (o for o in parsed if times[o.key_or_group] == 1)
        plain = {o.key_or_group: o for o in once if self._is_plain(o)}
        lines = {o.input_line: key for key, o in plain.items()}
        kind = tuple(lines.get(line, line) for line in job)
        if kind not in self.composed or self.composed[kind].own:
            self.composed[kind] = self._by_hydra(job)
            return self.composed[kind].task, list(self.composed[kind].overrides)
        before = self.composed[kind]
        task = copy.deepcopy(before.task)
        for key, override in plain.items():
            OmegaConf.update(task, key, override.value(), merge=True)
        typed = {key: str(override.input_line) for key, override in plain.items()}
        return task, [typed.get(line.partition("=")[0], line) for line in before.overrides]

    def _is_plain(self, override: Override) -> bool:
        """Whether an override gives a key that is there a plain value."""
        key = override.key_or_group
        changes = not (override.is_add() or override.is_force_add() or override.is_delete())
        if override.package is not None or not changes or key.startswith("hydra."):
            return False
        if key not in self.groups:
            self.groups[key] = "." not in key and bool(self.loader.get_group_options(key))
        return not self.groups[key] and isinstance(override.value(), _PLAIN)

    def _by_hydra(self, job: Sequence[str]) -> _Composed:
        config = self.loader.load_sweep_config(self.sweep, list(job))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = 0  # a config may refer to them
            HydraConfig.instance().set_config(config)
            task = config.copy()
            task.pop("hydra")
        return _Composed(task, config.hydra.overrides.task, "${hydra:" in OmegaConf.to_yaml(task))
