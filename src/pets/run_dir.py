"""A run directory: everything a run writes, and everything needed to use it again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any

import yaml
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from pets import trust
from pets.config import Monitor, TrainConfig
from pets.config.base import HUB
from pets.config.validation import typed_values
from pets.distributed.ranks import ranks
from pets.errors import ConfigError, RunError
from pets.io.atomic import regular, write_atomically
from pets.io.serialize import to_argument, to_json, to_yaml
from pets.system.installation import environment, origin

OUT_OF_FOLD = "out_of_fold.parquet"
# The files of a run that has read no photos yet.
_BEGUN = ("config.yaml", "overrides.yaml", "environment.json", "status.json", "loggers.json")


class _Values(BaseModel):
    """The values of a JSON file that the code uses; there may be others."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Results(_Values):
    photos: int = 0
    accuracy: float | None = None
    error_rate: float | None = None
    per_class: dict[str, float | None] = {}


class _Speed(_Values):
    images_per_second: float = 0.0


class _Status(_Values):
    state: str = ""
    identity: str = ""
    stage: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    error: str | None = None
    seconds: dict[str, float] = {}
    speed: dict[str, _Speed] = {}
    results: dict[str, _Results] = {}
    lr_found: dict[str, Any] = {}
    limited: list[str] = []
    monitor: Monitor = Monitor()


class _Report(_Values):
    most_confused: list[Annotated[tuple[str, str, int], Field(strict=False)]] = []  # JSON has lists


class _Data(_Values):
    train: int = 0
    valid: int = 0
    test: int = 0
    classes: list[str] = []
    fingerprint: str = ""
    superclasses: dict[str, str] = {}


class _Environment(_Values):
    folder: str = "."
    pets: str = ""


# By the file's name or folder, the types that are checked when it is read.
_TYPES: dict[str, type[_Values]] = {
    "status.json": _Status, "data.json": _Data, "environment.json": _Environment, "eval": _Results,
    "interpret": _Report,
}  # fmt: skip


class RunDir:
    """The files of one run below `path`.

    ```
    config.yaml       the composed config, resolved    overrides.yaml  what was typed
    environment.json  versions, code, machine, folder  photos.csv      path, label, split, hash
    data.json         counts and fingerprint           metrics.csv     a row an epoch
    status.json       state, stage, times, results     train.log       the log
    checkpoints/      last.ckpt, best.ckpt             tensorboard/    events
    lr_finder/        <stage>.png and .json, where the finder ran
    csv/ wandb/ mlflow/   what other loggers wrote     loggers.json    ids of their runs
    profile/          fit-<stage>.txt, with trainer.profiler
    slurm.json        the Slurm job that it was given to, and its log
    out_of_fold.parquet   predictions of the validation photos, with data.split=kfold
    looks.jsonl       a line for each time its test photos were measured
    unsure/<ckpt>.safetensors   what unsure=auto learned of its photos
    ```

    Only one of several ranks writes; on the others (`writes=False`) methods that change files do
    nothing. Unless a run is `trusted` (created by this process, or with `trust=true`), its config
    may reference only components of pets.
    """

    def __init__(self, path: Path, writes: bool = True, trusted: bool = False) -> None:
        self.path, self.writes, self.trusted = path, writes, trusted
        self._lock = FileLock(path / ".lock")

    @classmethod
    def prepare(
        cls, path: Path, config: Mapping[str, Any], overrides: Sequence[str], **status: Any
    ) -> RunDir:
        """Create a run that waits for a process to `begin` it. Raises RunError if one exists."""
        if (path / "status.json").exists():
            typed = to_argument("resume", path)
            raise RunError(f"{path}: already contains a run; resume it with {typed}")
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path, trusted=True)
        run._write("config.yaml", to_yaml(config))
        run._write("overrides.yaml", to_yaml(list(overrides)))
        run.write_json("environment.json", origin())
        run.update_status(state="waiting", **status)
        return run

    def begin(self) -> None:
        """Mark the run as running in this process. Raises RunError if another process trains it."""
        self.claim()
        if "started" not in self.status:
            (self.path / "checkpoints").mkdir(exist_ok=True)
            self.write_json("environment.json", environment(ranks().world))
            self.update_status(started=_now(), host=socket.gethostname())
        self.update_status(state="running", error=None, ranks=ranks().world)

    @classmethod
    def open(cls, path: str | Path, trusted: bool = False, key: str = "run") -> RunDir:
        """Open an existing run, which is the value of a config's `key`.

        Raises RunError if there is none, or a link leads out of it.
        """
        if str(path).startswith(HUB):
            raise RunError(
                f"{key}={path}: is a model on the hub, which only pets predict takes; expected the "
                "directory of a run, one of outputs/..."
            )
        # As text: `run=3` of a command that reads it before the types are checked is a number.
        path = Path(os.path.expanduser(str(path)))  # noqa: PTH111 - raises nothing without a home
        for name in ("config.yaml", "status.json"):
            if not (path / name).is_file():
                what = f"has no {name}" if path.is_dir() else "no such folder"
                raise RunError(
                    f"{key}={path}: is not a run directory ({what}); expected one of outputs/..."
                )
        if not trusted:
            trust.check_links(path)
        return cls(path, trusted=trusted)

    @classmethod
    def open_finished(cls, path: str | Path, trusted: bool = False, key: str = "run") -> RunDir:
        """Open a finished run. Raises RunError if it is unfinished."""
        run = cls.open(path, trusted, key)
        if run.finished:
            return run
        raise RunError(
            f"{key}={path}: is not finished (state {run.state}, {run.position()}); "
            f"resume with pets train {to_argument('resume', path)}"
        )

    def claim(self) -> None:
        """Lock the run for this process. Raises RunError if another process holds the lock."""
        try:
            self._lock.acquire(timeout=1)  # readers of the state hold it briefly
        except Timeout as error:
            raise RunError(f"{self.path}: is being trained by another process") from error

    def release(self) -> None:
        """Let other processes train the run."""
        self._lock.release()

    def held(self) -> bool:
        """Whether a process is training this run."""
        file = self.path / ".lock"
        with contextlib.suppress(OSError):  # another user's lock may be inaccessible
            if file.exists():
                try:
                    FileLock(file).acquire(timeout=0).lock.release()
                except Timeout:
                    return True
        return False

    @property
    def config(self) -> dict[str, Any]:
        """The composed config as plain values.

        For an untrusted run, values that reach outside it are removed, and RunError is raised if it
        references anything that is not part of pets.
        """
        values = self.read_config()
        if not self.trusted:
            values = trust.inside(values)
            trust.check(values, self.path / "config.yaml")
        return values

    def read_config(self) -> dict[str, Any]:
        """Return the content of `config.yaml`, unchecked: do not build it. Raises RunError."""
        return self._read("config.yaml", dict)

    @property
    def train_config(self) -> TrainConfig:
        """The composed config, typed. Raises RunError if this version cannot use it."""
        try:
            return typed_values(TrainConfig, self.config)
        except ConfigError as error:
            reason = str(error).splitlines()[0].partition(";")[0]
            raise RunError(
                f"{self.path / 'config.yaml'}: does not fit this version of pets ({reason}); "
                f"it was written by {self.read_json('environment.json').get('pets')}"
            ) from error

    def update_config(self, changes: Mapping[str, Any]) -> None:
        """Change some values of `config.yaml`, by their dotted keys."""
        values = self.read_config()
        for key, value in changes.items():
            *sections, last = key.split(".")
            reduce(getitem, sections, values)[last] = value
        self._write("config.yaml", to_yaml(values))

    @property
    def overrides(self) -> list[str]:
        """The command line's overrides. Raises RunError if the file is damaged."""
        return [str(override) for override in self._read("overrides.yaml", list)]

    @property
    def status(self) -> dict[str, Any]:
        """The content of `status.json`. Raises RunError if the file is damaged."""
        return self.read_json("status.json")

    def update_status(self, **changes: Any) -> None:
        """Change some values of `status.json`."""
        if self.writes:
            status = self.status if (self.path / "status.json").exists() else {}
            self.write_json("status.json", status | changes | {"updated": _now()})

    def add_seconds(self, what: str, seconds: float) -> None:
        """Add to the wall time of a part of the run, accumulated over resumes."""
        spent = self.status.get("seconds", {})
        self.update_status(seconds=spent | {what: round(spent.get(what, 0.0) + seconds, 3)})

    def finish(self, results: Mapping[str, Any]) -> None:
        """Mark the run as finished, with its metrics."""
        self.update_status(state="finished", ended=_now(), results=results, error=None)

    def discard(self) -> None:
        """Remove the files of a run that has read no photos yet; other files are kept."""
        if not self.writes or (self.path / "photos.csv").exists():
            return
        self._lock.release(force=True)
        with contextlib.suppress(OSError):
            (self.path / "checkpoints").rmdir()
        for name in ("wandb", "mlflow"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (*_BEGUN, ".lock"):
            (self.path / name).unlink(missing_ok=True)

    @property
    def state(self) -> str:
        """`waiting`, `running`, `interrupted`, `failed`, `pruned` or `finished`."""
        state = str(self.status.get("state"))
        # If the run's process has died, its lock is free although the file says running.
        return "interrupted" if state == "running" and not self.held() else state

    @property
    def monitor(self) -> Monitor:
        """The metric by which its best epoch is chosen."""
        return Monitor.model_validate(self.status.get("monitor", {}))

    @property
    def finished(self) -> bool:
        """Whether training has finished, with or without a report after it."""
        return self.status.get("state") == "finished"

    @property
    def ended(self) -> bool:
        """Whether a sweep leaves the run as it is: finished, or pruned as hopeless."""
        return self.status.get("state") in ("finished", "pruned")

    def position(self) -> str:
        """Describe how far the run got, for messages."""
        status = self.status
        if not status.get("stage"):
            return "before its first epoch"
        done, epochs = status.get("epoch", "?"), status.get("epochs", "?")
        return f"stage {status['stage']}, {done} of {epochs} epochs"

    def as_typed(self, key: str = "run") -> str:
        """Return `key=<folder>` to be pasted; with `trust=true` if the run uses code of its own."""
        trusted = " trust=true" if trust.refusal(trust.inside(self.config)) else ""
        return f"{to_argument(key, self.path)}{trusted}"

    def checkpoint(self, name: str = "last") -> Path:
        """`last`: where the run resumes; `best`: the best epoch by `monitor`."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def root(self, root: str) -> Path:
        """Resolve a config's data folder, relative to here or to where the run was started."""
        here = Path(root)
        if here.exists():
            return here
        started = Path(self.read_json("environment.json").get("folder", ".")) / root
        return started if started.exists() else here

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the JSON files. Raises RunError if it is missing or damaged.

        A value that the code uses must have its type.
        """
        values: dict[str, Any] = self._read(name, dict)
        try:
            typed_values(_TYPES.get(name.partition("/")[0], _Values), values)
        except ConfigError as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"{self.path / name}: {reason}; the file was changed, take it from a copy "
                "of the run"
            ) from error
        return values

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Replace one of the JSON files."""
        self._write(name, to_json(values, indent=2) + "\n")

    def _read(self, name: str, kind: type[Any]) -> Any:
        """Read the plain values of a file: a `dict` or a `list`."""
        file = self.path / name
        try:
            text = regular(file).read_text(encoding="utf-8")
            json_file = name.endswith(".json")
            values = json.loads(text) if json_file else yaml.load(text, trust.PlainLoader)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"{file}: cannot be read ({reason})") from error
        if not isinstance(values, kind):
            expected = "a list" if kind is list else "keys with values"
            raise RunError(f"{file}: cannot be read (expected {expected})")
        return values

    def _write(self, name: str, text: str) -> None:
        """Replace a file atomically, on the rank that writes."""
        if self.writes:
            write_atomically(self.path / name, text.encode())


def from_here(folder: str) -> Path:
    """Return the folder relative to the current one if it is below it, as a user would type it."""
    path, here = Path(folder), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
