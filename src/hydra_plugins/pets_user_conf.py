"""A user's own folder of configs, beside those of pets: every command finds its options there."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from pets.errors import ConfigError


class UserConfigs(SearchPathPlugin):
    """Adds the folder PETS_CONF, or ~/.config/pets if it exists, after pets' own configs."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder. Raises ConfigError if PETS_CONF names none."""
        named = os.environ.get("PETS_CONF")
        folder = Path(os.path.expanduser(named or "~/.config/pets"))  # noqa: PTH111 - may have no home
        if folder.is_dir():
            search_path.append("user", f"file://{folder.resolve()}")
        elif named:
            raise ConfigError(f"PETS_CONF={named}: no such folder; expected one of config groups")
