"""A trained run behind an address, until a signal comes."""

from __future__ import annotations

import ipaddress
import logging
import socket

import torch
import uvicorn

from pets.config import ServeConfig
from pets.data.images import FORMATS
from pets.evaluation import Trained
from pets.serving.answers import Answers
from pets.serving.app import build_app, counted
from pets.serving.examples import find_examples
from pets.serving.guard import Guard
from pets.serving.limits import Gate
from pets.serving.look import Eye
from pets.serving.meters import Meters
from pets.serving.protocol import protocol
from pets.serving.schema import Info

log = logging.getLogger(__name__)
_LAST_ANSWERS = 2  # seconds that requests have to end after Ctrl-C


def serve(trained: Trained, config: ServeConfig, at: socket.socket, device: torch.device) -> None:
    """Answer until a signal comes."""
    local = ipaddress.ip_address(at.getsockname()[0]).is_loopback
    limits = config.limits
    eye = Eye(trained.model, _temperature(trained), device, int(limits.megapixels * 1e6))
    root = config.data.root or trained.config.data.root
    examples = find_examples(trained.run, root, config.examples)
    gate = Gate(limits)
    meters = Meters(gate)
    answers = Answers(eye, config, meters)
    app = build_app(_info(trained, config), answers, examples, gate, meters)
    hosts = frozenset({"localhost", "127.0.0.1", "[::1]"}) if local else None
    server = _Server(
        uvicorn.Config(
            Guard(app, meters, counted(app), hosts),
            http=protocol(limits),
            ws="none",
            lifespan="off",
            log_config=None,  # Hydra has set up the log
            access_log=False,  # names of photos are their owners'
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_LAST_ANSWERS,
        )
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    if not local:
        log.warning("host=%s: everybody on the network can reach it", config.host)
    try:
        server.run(sockets=[at])
    finally:
        answers.close()


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # What has no answer within the last seconds is cancelled, as is meant.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        log.info("ready at %s (Ctrl-C ends it)", _url(sockets[0]))


def _url(at: socket.socket) -> str:
    host, port = at.getsockname()[:2]
    address = ipaddress.ip_address(host)
    shown = "localhost" if address.is_unspecified else f"[{host}]" if address.version == 6 else host
    return f"http://{shown}:{port}/"


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
        formats=list(FORMATS),
    )
