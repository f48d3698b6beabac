"""Serve a trained run over HTTP until the process is signalled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator

import torch
from fastapi import FastAPI

from pets.config import ServeConfig
from pets.errors import RunError
from pets.serving.app import build_app
from pets.serving.decoder_process import FORMATS
from pets.serving.examples import find_examples
from pets.serving.listening import run_until_signalled, urls_of
from pets.serving.predictor import Predictor
from pets.serving.responses import Info
from pets.serving.service import Service
from pets.training.checkpoints import Trained
from pets.unsure.calibration import Promise
from pets.unsure.fit import promise_of

log = logging.getLogger(__name__)
_CALIBRATION_BATCH = 64  # photos, before the first request


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
    urls = urls_of(sock)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        await service.start()
        log.info("ready at %s (Ctrl-C ends it)", " and ".join(urls))
        yield
        await asyncio.sleep(0.1)  # let the responses to cancelled requests go out

    app = build_app(_info(trained, config, promise), service, examples, config.limits, lifespan)
    limits = config.limits
    try:
        started = run_until_signalled(app, sock, config.hosts, limits.seconds, limits.connections)
    finally:
        service.close()
    if not started:
        raise RunError("pets serve: no processes could be started to decode photos; try again")


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
