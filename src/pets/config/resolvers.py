"""Interpolations for configs, in addition to OmegaConf's own."""

import os
import secrets

from omegaconf import OmegaConf

from pets.distributed.ranks import ranks

# One tag per process: runs started within the same second get different directories.
_TAG = secrets.token_hex(3)


def register_resolvers() -> None:
    """Register the interpolations.

    - `${run_tag:}`: six random hex digits, the same throughout one process.
    - `${either:a,b}`: `a`, or `b` if `a` is null.
    - `${rank:}`: the rank of this process.
    - `${explained:<command>}`: the command's keys, as `--help` shows them.
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
        # Hydra creates the folder before the config is validated, so `~` is expanded here.
        lambda first, second: second if first is None else os.path.expanduser(first),  # noqa: PTH111
        replace=True,
    )
