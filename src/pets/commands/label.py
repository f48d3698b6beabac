"""`pets label`: a page to label photos on, those first that help most."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from pets.config import LabelConfig
from pets.config.validation import typed
from pets.system.installation import need_server

SCHEMA = LabelConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Serve the page until the process is signalled."""
    config = typed(LabelConfig, cfg)
    need_server("label")
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
