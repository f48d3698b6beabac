"""`pets label`: a page to label photos on, those first that help most."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from omegaconf import DictConfig

from pets.config import LabelConfig
from pets.config.validation import typed
from pets.errors import ConfigError
from pets.system.installation import install

SCHEMA = LabelConfig
log = logging.getLogger(__name__)

_PACKAGES = ("fastapi", "uvicorn", "prometheus_client")


def run(cfg: DictConfig) -> None:
    """Serve the page until the process is signalled."""
    config = typed(LabelConfig, cfg)
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(f"pets label: needs {', '.join(missing)}; {install('serve')}")
    from pets.cache import memo
    from pets.run_dir import RunDir
    from pets.serving.listening import bound

    run_dir = RunDir.open_finished(config.run, config.trust)

    # Before torch is imported, so that a busy port is reported at once.
    with bound(config.host, config.port) as server:
        log.info("loading %s", run_dir.path)

        from pets.labelling.server import label
        from pets.system.cpu import keep_freed_memory
        from pets.training.checkpoints import load_run
        from pets.training.library_logs import silence_lightning
        from pets.training.trainer import check_trainer

        silence_lightning()
        keep_freed_memory()
        check_trainer(config.trainer)
        memo.use_folder(config.cache_dir)
        label(load_run(run_dir, config.ckpt), config, server)
