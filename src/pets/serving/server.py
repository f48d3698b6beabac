"""Serve a trained run over HTTP until the process is signalled."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import AsyncGenerator
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from pets.config import ServeConfig
from pets.errors import RunError
from pets.serving.app import build_app
from pets.serving.decoder_process import FORMATS
from pets.serving.examples import find_examples
from pets.serving.middleware import HEADERS, Guard, own_names
from pets.serving.predictor import Predictor
from pets.serving.responses import Info
from pets.serving.service import Service
from pets.training.checkpoints import Trained
from pets.unsure.calibration import Promise
from pets.unsure.fit import promise_of

log = logging.getLogger(__name__)
_CALIBRATION_BATCH = 64  # photos, before the first request
_SHUTDOWN_SECONDS = 2  # for pending requests, after Ctrl-C


def serve(trained: Trained, config: ServeConfig, sock: socket.socket, device: torch.device) -> None:
    """Serve a trained run on the listening socket `sock` until the process is signalled.

    Raises:
        RunError: The server does not start.
    """
    temperature = trained.temperature or 1.0
    promise = promise_of(
        trained, config.ckpt, config, config.data.root, device, _CALIBRATION_BATCH, "auto"
    )
    rule = None if promise is None else promise.rule
    service = Service(Predictor(trained.model, temperature, device, rule), config)
    examples = find_examples(
        trained.run, config.data.root or trained.config.data.root, config.examples
    )
    host, port = sock.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if not address.is_loopback:
        log.warning("host=%s: everybody on the network can reach it", config.host)
    names = ["localhost", socket.gethostname()] if address.is_unspecified else [host]
    urls = [f"http://{f'[{name}]' if ':' in name else name}:{port}/" for name in names]

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        await service.start()
        log.info("ready at %s (Ctrl-C ends it)", " and ".join(urls))
        yield
        await asyncio.sleep(0.1)  # let the responses to cancelled requests go out

    app = build_app(_info(trained, config, promise), service, examples, config.limits, lifespan)
    # The app logs its own errors; silence uvicorn's messages about requests cancelled on shutdown.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    running = uvicorn.Server(
        uvicorn.Config(
            Guard(app, own_names(config.hosts)),
            http=_connections(config.limits.seconds),
            headers=list(HEADERS.items()),
            limit_concurrency=config.limits.connections,
            ws="none",
            lifespan="on",
            log_config=None,  # Hydra has configured logging
            access_log=False,  # do not log file names: they may be private
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )
    try:
        running.run(sockets=[sock])
    finally:
        service.close()
    if not running.started:
        raise RunError("pets serve: no processes could be started to decode photos; try again")


def _connections(seconds: float) -> type[H11Protocol]:
    class Connection(H11Protocol):
        """A connection that is closed if its next request head takes longer than `seconds`.

        uvicorn's own timeout starts only after the first response, and restarts with every byte:
        without this one, silent clients could hold all connections.
        """

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.loop.call_later(seconds, self.end_if_idle, None)

        def on_response_complete(self) -> None:
            answered = self.cycle
            super().on_response_complete()
            self.loop.call_later(seconds, self.end_if_idle, answered)

        def end_if_idle(self, last_request: Any) -> None:
            """Close the connection, unless another request has started."""
            if self.cycle is last_request:
                self.transport.abort()

    return Connection


def _info(trained: Trained, config: ServeConfig, promise: Promise | None) -> Info:
    results = trained.run.status.get("results", {})
    return Info(
        run=trained.run.path.name,
        stage=trained.stage,
        architecture=trained.config.model.name,
        classes=trained.model.classes,
        size=list(trained.model.size),
        preprocess=trained.model.preprocess.as_dict(),
        temperature=trained.temperature or 1.0,
        threshold=config.threshold,
        unsure=None if promise is None else promise.as_dict(),
        metrics={
            split: {k: v for k, v in values.items() if isinstance(v, int | float)}
            for split, values in results.items()
        },
        limits=config.limits.model_dump(),
        formats=list(FORMATS),
    )
