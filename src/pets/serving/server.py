"""A trained run behind an address, until a signal comes."""

from __future__ import annotations

import asyncio
import logging
import socket

import torch
import uvicorn

from pets.config import ServeConfig
from pets.serving.address import OwnNames, is_local, urls
from pets.serving.answers import Answers
from pets.serving.app import build_app, counted
from pets.serving.examples import find_examples
from pets.serving.guard import Guard
from pets.serving.limits import Gate
from pets.serving.look import Eye
from pets.serving.meters import Meters
from pets.serving.protocol import protocol
from pets.serving.schema import Info
from pets.serving.worker import SERVED
from pets.training.evaluation import Trained

log = logging.getLogger(__name__)
_LAST_ANSWERS = 2  # seconds that requests have to end after Ctrl-C


def serve(trained: Trained, config: ServeConfig, at: socket.socket, device: torch.device) -> None:
    """Answer until a signal comes."""
    limits = config.limits
    eye = Eye(trained.model, _temperature(trained), device)
    root = config.data.root or trained.config.data.root
    examples = find_examples(trained.run, root, config.examples)
    gate = Gate(limits)
    meters = Meters(gate)
    answers = Answers(eye, config, meters)
    app = build_app(_info(trained, config), answers, examples, gate, meters)
    server = _Server(
        answers,
        uvicorn.Config(
            Guard(app, meters, counted(app), OwnNames(at, config.hosts)),
            http=protocol(limits),
            ws="none",
            lifespan="off",
            log_config=None,  # Hydra has set up the log
            access_log=False,  # names of photos are their owners'
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_LAST_ANSWERS + 2,
        ),
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    if not is_local(at):
        log.warning("host=%s: everybody on the network can reach it", config.host)
    try:
        server.run(sockets=[at])
    finally:
        answers.close()


class _Server(uvicorn.Server):
    def __init__(self, answers: Answers, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._answers = answers

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Who does not even take a refusal is cancelled, as is meant.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        asyncio.get_running_loop().call_later(_LAST_ANSWERS, self._answers.refuse)
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._answers.start()
        await super().startup(sockets)
        assert sockets is not None
        log.info("ready at %s (Ctrl-C ends it)", " and ".join(urls(sockets[0])))


def _temperature(trained: Trained) -> float:
    return 1.0 if trained.temperature is None else trained.temperature


def _info(trained: Trained, config: ServeConfig) -> Info:
    results = trained.run.status.get("results", {})
    return Info(
        run=trained.run.path.name,
        stage=trained.stage,
        architecture=trained.config.model.name,
        classes=trained.model.classes,
        size=list(trained.model.size),
        preprocess=trained.model.preprocess.as_dict(),
        temperature=_temperature(trained),
        threshold=config.threshold,
        metrics={
            split: {k: v for k, v in found.items() if isinstance(v, int | float)}
            for split, found in results.items()
        },
        limits=config.limits.model_dump(),
        formats=list(SERVED),
    )
