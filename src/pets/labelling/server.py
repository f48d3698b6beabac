"""Files, lock and server of `pets label`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shlex
import socket
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from filelock import FileLock, Timeout

from pets.cache.memo import cache_folder
from pets.config import LabelConfig
from pets.errors import RunError, reason_of
from pets.io.atomic import check_writable
from pets.labelling.app import Gate, build_app
from pets.labelling.background import Background
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
        session.save()
        if decided := int(session.decided.sum()):
            log.info("%s: goes on after %s photos", files.journal, f"{decided:,}")
        background = Background(session, Learner(pool, config.seed), config.every)
        token = _token(config, files)
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
            [f"data.relabel={table}", f"data.exclude={table}"]
        )
    if any(item.split == NEW for item in items):
        root = pool.root.absolute()
        commands["The labelled photos of this folder, beginning from the run"] = shlex.join(
            ["pets", "train", "data=table", f"data.root={root}", f"data.table={table}",
             f"data.exclude={table}", f"model.weights={trained.run.path}"]
        )  # fmt: skip
    return {
        "run": trained.run.path.name,
        "root": str(pool.root),
        "table": table,
        "locked": pool.locked,
        "commands": commands,
    }


def _token(config: LabelConfig, files: Files) -> str:
    """Return the token of these files: tabs that are open work with the next server, too. It is in
    the user's cache, not in the run, which may be somebody else's."""
    name = blake2b(str(files.table.resolve()).encode(), digest_size=16).hexdigest()
    file = cache_folder(config.cache_dir) / FOLDER / f"{name}.token"
    token = secrets.token_urlsafe(24)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as stream:
                stream.write(token)
        # In a cache that several users share, a file of another one is a token that they know.
        if file.lstat().st_uid == os.getuid():
            token = file.read_text().strip() or token
    except OSError as error:
        reason = error.strerror or reason_of(error)
        log.info("%s: cannot be kept (%s); open tabs need the new address", file, reason)
    return token
