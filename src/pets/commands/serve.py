"""`pets serve`: serve a web page and an API that classify photos."""

from __future__ import annotations

import logging
import socket
from importlib.util import find_spec

from omegaconf import DictConfig

from pets.config import ServeConfig
from pets.config.validation import typed
from pets.errors import ConfigError
from pets.system.installation import install

SCHEMA = ServeConfig
log = logging.getLogger(__name__)

_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def run(cfg: DictConfig) -> None:
    """Serve the run until the process is signalled."""
    config = typed(ServeConfig, cfg)
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(f"pets serve: needs {', '.join(missing)}; {install('serve')}")
    from pets.run_dir import RunDir

    run_dir = RunDir.open_finished(config.run, config.trust)

    # Before torch is imported, so that a busy port is reported at once.
    with _bound(config.host, config.port) as server:
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


def _bound(host: str, port: int) -> socket.socket:
    """Return a listening socket; connections queue until the server accepts them."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise ConfigError(
            f"host={host}: no such address ({error.strerror}); 127.0.0.1 is only this machine, "
            "0.0.0.0 is reachable from the network"
        ) from error
    except OSError as error:
        # create_server adds the address to the reason.
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        raise ConfigError(
            f"port={port}: cannot be had at {host} ({reason}); give another one, or port=0 "
            "for any that is free"
        ) from error
