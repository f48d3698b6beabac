"""Where predictions are written: one file, or a folder of shards."""

from __future__ import annotations

import contextlib
import filecmp
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pets.errors import ConfigError, some
from pets.io.serialize import to_json
from pets.prediction.merge import WRITERS
from pets.prediction.shards import Shards

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Out:
    """One file, or with `folder` a folder of shards that stay. Where nobody has chosen the place,
    it `keeps` what was there: the same source may have other photos today."""

    path: Path
    folder: bool
    keeps: bool = False

    @classmethod
    def of(cls, words: str) -> Out:
        """What `out` means: a folder where it ends in a slash or has no suffix. Raises ConfigError
        for a file of another format."""
        path = Path(words)
        suffix = path.suffix.lower()
        if words.endswith("/") or not suffix or (path.is_dir() and suffix not in WRITERS):
            return cls(path, True)
        if suffix not in WRITERS:
            raise ConfigError(
                f"out={words}: unknown format; expected {', '.join(WRITERS)}, or a folder: {words}/"
            )
        if path.is_dir():
            raise ConfigError(f"out={words}: is a folder; for shards in it: out={words}/")
        return cls(path, False)

    @classmethod
    def default(cls, folder: Path, name: str, identity: str, settings: Mapping[str, Any]) -> Out:
        """A CSV in `folder`, of its own for each source and settings."""
        told = to_json([identity, settings]).encode("utf-8", "surrogateescape")
        digest = blake2b(told, digest_size=3).hexdigest()
        return cls(folder / f"{name}_{digest}.csv", folder=False, keeps=True)

    @property
    def shards(self) -> Path:
        """Where the shards lie: beside a file, until it is whole."""
        return self.path if self.folder else self.path.with_name(f".{self.path.name}.parts")


def hold(out: Out, held: contextlib.ExitStack) -> None:
    """Keep other commands out of the shards' folder, which is made, until `held` is closed; it goes
    if it is empty then. Raises ConfigError where another one is at work."""
    folder = out.shards
    folder.mkdir(parents=True, exist_ok=True)
    held.callback(_remove_empty, folder)
    try:
        held.enter_context(FileLock(folder / ".lock", timeout=0))
        held.callback((folder / ".lock").unlink, missing_ok=True)
    except Timeout as error:
        raise ConfigError(f"out={out.path}: another process is writing to {folder}") from error


@contextlib.contextmanager
def earlier_kept(out: Out) -> Iterator[None]:
    """Give an earlier table another name where the block writes a different one."""
    if not (out.keeps and out.path.exists()):
        yield
        return
    names = (out.path.with_name(f"{out.path.stem}_{n}.csv") for n in count(1))
    earlier = next(name for name in names if not name.exists())
    out.path.rename(earlier)
    try:
        yield
    finally:
        if not out.path.exists():
            earlier.rename(out.path)
    if filecmp.cmp(earlier, out.path, shallow=False):
        earlier.unlink()
    else:
        log.warning("%s: the earlier one is kept as %s", out.path, earlier.name)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def refuse_strangers(out: Out, shards: Shards) -> None:
    """Raises ConfigError where Parquet files lie in the folder that no prediction has made: they
    would be read as part of it, or lost."""
    strange = shards.strangers()
    if strange:
        raise ConfigError(
            f"out={out.path}: has Parquet files that are not of pets predict ({some(strange)}); "
            "choose another folder"
        )


@contextlib.contextmanager
def writing(out: Out) -> Iterator[None]:
    """Raises ConfigError where the files of a prediction cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        kept = out.shards.is_dir() and any(out.shards.glob("part-*"))
        more = "; what is finished is kept, the same command goes on" if kept else ""
        raise ConfigError(f"out={out.path}: cannot be written ({reason}){more}") from error
