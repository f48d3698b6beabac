"""The interpolations that configs may use beside OmegaConf's own."""

import os
import secrets

from omegaconf import OmegaConf

from pets.distributed.ranks import ranks

# One tag a process: two runs started within the same second never share a directory.
_TAG = secrets.token_hex(3)


def register_resolvers() -> None:
    """Register `${run_tag:}`: six random hex digits, the same all through one process.

    And `${either:a,b}`: `a`, or `b` where `a` is null; `${rank:}`: which of a training's processes;
    `${explained:<command>}`: its keys, as `--help` shows them.
    """

    def keys(command: str) -> str:
        from pets.config.help import explained
        from pets.system.installation import conf_dir

        return explained(conf_dir(), command)

    OmegaConf.register_new_resolver("explained", keys, replace=True)
    OmegaConf.register_new_resolver("rank", lambda: ranks().rank, replace=True)
    OmegaConf.register_new_resolver("run_tag", lambda: _TAG, replace=True)
    OmegaConf.register_new_resolver(
        "either",
        # Hydra makes the folder: `~` has to be a home before the config is typed.
        lambda first, second: second if first is None else os.path.expanduser(first),  # noqa: PTH111
        replace=True,
    )
