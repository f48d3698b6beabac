"""Files, lock and server of `pets label`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shlex
import socket
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from filelock import FileLock, Timeout
from hydra import compose

from pets.config import LabelConfig
from pets.errors import RunError
from pets.io.atomic import check_writable
from pets.io.serialize import to_override
from pets.labelling.app import build_app
from pets.labelling.background import Background
from pets.labelling.gate import Gate, token_of
from pets.labelling.items import NEW
from pets.labelling.journal import Journal
from pets.labelling.learn import Learner
from pets.labelling.pool import Pool, make_pool
from pets.labelling.session import Session
from pets.serving.listening import run_until_signalled, urls_of
from pets.training.checkpoints import Trained

log = logging.getLogger(__name__)
FOLDER = "label"  # of the run
_SECONDS, _CONNECTIONS = 30, 128
_OF_NETWORK = re.compile(
    r"model(/head)?=[\w-]+|model\.(name|pool|args\.img_size)=[\w.:/-]+|data\.size=[\[\w,\]]+",
    re.ASCII,
)


@dataclass(frozen=True)
class Files:
    """The table of decisions, and beside it their journal and its lock."""

    table: Path

    @property
    def journal(self) -> Path:
        return self.table.with_suffix(".jsonl")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock inside the block; if that writes no journal, nothing is left behind.

        Raises:
            ConfigError: The folder cannot be written.
            RunError: Another process has the lock, or the table is somebody else's.
        """
        folder, lock = self.table.parent, self.table.with_suffix(".lock")
        check_writable(folder)
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                if self.table.exists() and not self.journal.exists():
                    raise RunError(
                        f"out={self.table}: exists, and was not written by pets label (there is no "
                        f"{self.journal.name} beside it); give another out"
                    )
                try:
                    yield
                finally:
                    if not self.journal.exists():
                        lock.unlink(missing_ok=True)
        except Timeout as error:
            raise RunError(
                f"out={self.table}: another pets label writes it; use its page, which may be open "
                "in several tabs, or give another out"
            ) from error
        finally:
            if made:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()


def files_of(run: Path, root: Path, out: str | None) -> Files:
    """Return the files of `out`; by default in the run, by the folder that is labelled."""
    if out is not None:
        return Files(Path(out))
    whole = root.resolve()
    digest = blake2b(str(whole).encode(), digest_size=3).hexdigest()
    return Files(run / FOLDER / f"{whole.name or 'photos'}_{digest}.csv")


def label(trained: Trained, config: LabelConfig, sock: socket.socket) -> None:
    """Serve the page on a listening socket until the process is signalled.

    Raises:
        PetsError: The photos, the run or the files are not suited.
        OSError: The files cannot be written.
    """
    root = Path(config.data.root or trained.run.root(trained.config.data.root))
    files = files_of(trained.run.path, root, config.out)
    with files.locked():
        journal = Journal(files.journal, trained.model.classes)
        pool = make_pool(trained, config)
        session = Session(pool, journal, files.table)
        if absent := session.absent:
            log.warning("%s: %s decisions are about photos that are not here now; they are kept",
                        files.journal, f"{absent:,}")  # fmt: skip
        journal.begin()
        session.save(session.lines())
        if decided := int(session.decided.sum()):
            log.info("%s: goes on after %s photos", files.journal, f"{decided:,}")
        background = Background(session, Learner(pool, config.seed), config.every)
        token = token_of(files.table, config.cache_dir)
        urls = [f"{url}?token={token}" for url in urls_of(sock)]

        @contextlib.asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
            fitting = asyncio.create_task(background.run())
            log.info("labels go to %s", files.table)
            log.info("ready at %s (Ctrl-C ends it)", " and ".join(urls))
            yield
            fitting.cancel()

        app = build_app(session, background, _about(trained, pool, files), lifespan)
        gate = Gate(app, token, sock.getsockname()[1])
        if not run_until_signalled(gate, sock, config.hosts, _SECONDS, _CONNECTIONS):
            raise RunError("pets label: the server did not start; its log says why")


def _about(trained: Trained, pool: Pool, files: Files) -> dict[str, Any]:
    table, commands = str(files.table.absolute()), {}
    items = [item for item in pool.items if item.copies]
    if any(item.split != NEW for item in items):
        commands["Corrected labels of the run's photos: train as before, and add"] = shlex.join(
            [to_override("data.relabel", table), to_override("data.exclude", table)]
        )
    if any(item.split == NEW for item in items):
        commands["The labelled photos of this folder, beginning from the run"] = shlex.join(
            ["pets", "train", "data=table", to_override("data.root", pool.root.absolute()),
             to_override("data.table", table), to_override("data.exclude", table),
             *_network_of(trained), to_override("model.weights", trained.run.path.absolute())]
        )  # fmt: skip
    return {
        "run": trained.run.path.name,
        "root": str(pool.root.absolute()),
        "table": table,
        "locked": pool.locked,
        "commands": commands,
    }


def _network_of(trained: Trained) -> list[str]:
    """Return the arguments of `pets train` that choose the network of a run and the size of its
    photos. The run may be somebody else's: names and numbers alone, nothing that could be code."""
    last = {override.partition("=")[0]: override for override in trained.run.overrides}
    typed = [override for override in last.values() if _OF_NETWORK.fullmatch(override)]
    own, default = trained.config.model, compose("train").model
    if "model" in last or (own.library, own.name) == (default.library, default.name):
        return typed
    return [f"model={own.library}", to_override("model.name", own.name), *typed]  # by an experiment
