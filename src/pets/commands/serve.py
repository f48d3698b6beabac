"""`pets serve`: serve a web page and an API that classify photos."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from pets.config import ServeConfig
from pets.config.validation import typed
from pets.system.installation import need_server

SCHEMA = ServeConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Serve the run until the process is signalled."""
    config = typed(ServeConfig, cfg)
    need_server("serve", "python_multipart")
    from pets.run_dir import RunDir
    from pets.serving.listening import bound

    run_dir = RunDir.open_finished(config.run, config.trust)

    # Before torch is imported, so that a busy port is reported at once.
    with bound(config.host, config.port) as server:
        log.info("loading %s", run_dir.path)

        from pets.serving.decoding import preload
        from pets.serving.server import serve
        from pets.system.cpu import keep_freed_memory
        from pets.system.devices import usable_device
        from pets.training.checkpoints import load_run
        from pets.training.library_logs import silence_lightning

        preload()
        silence_lightning()
        keep_freed_memory()
        device = usable_device(config.device)
        serve(load_run(run_dir, config.ckpt), config, server, device)
