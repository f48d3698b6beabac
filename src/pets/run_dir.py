"""A run directory: everything that a run leaves behind, and all that using it again needs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from pets import trust
from pets.config import TrainConfig
from pets.config.validation import typed_values
from pets.distributed.ranks import ranks
from pets.errors import ConfigError, RunError
from pets.io.serialize import to_json, to_yaml
from pets.system.installation import environment, origin


class RunDir:
    """The files of one run below `path`.

    ```
    config.yaml       the composed config, resolved       overrides.yaml   what was typed
    environment.json  versions, code, machine, folder     photos.csv   path, label, split, hash
    data.json         counts and fingerprint              metrics.csv      a row an epoch
    status.json       state, stage, times, results        train.log        the log
    checkpoints/      last.ckpt, best.ckpt                 tensorboard/     events
    lr_finder/        <stage>.png and .json, where the finder ran
    slurm.json        the Slurm job that it was given to, and its log
    ```

    Of several ranks one writes; on the others (`writes=False`) all that changes files does nothing.
    A run may come from anybody: unless it is `trusted` (made by this process, or `trust=true` was
    typed), its config may name what pets comes with, and no more.
    """

    def __init__(self, path: Path, writes: bool = True, trusted: bool = False) -> None:
        self.path, self.writes, self.trusted = path, writes, trusted
        self._lock = FileLock(path / ".lock")

    @classmethod
    def prepare(
        cls, path: Path, config: Mapping[str, Any], overrides: Sequence[str], **status: Any
    ) -> RunDir:
        """A new run that waits for somebody to `begin` it, with more words for its status.

        Raises RunError when the directory holds one already.
        """
        if (path / "status.json").exists():
            raise RunError(f"{path}: holds a run already; go on with it by resume={path}")
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path, trusted=True)
        (path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        (path / "overrides.yaml").write_text(to_yaml(list(overrides)), encoding="utf-8")
        run.write_json("environment.json", origin())
        run.update_status(state="waiting", **status)
        return run

    def begin(self) -> None:
        """Train here from now on, for the first time or again. Raises RunError while another
        process does."""
        self.claim()
        changes: dict[str, Any] = {"state": "running", "error": None, "ranks": ranks().world}
        if "started" not in self.status:
            (self.path / "checkpoints").mkdir(exist_ok=True)
            self.write_json("environment.json", environment(ranks().world))
            changes |= {"started": _now(), "host": socket.gethostname()}
        self.update_status(**changes)

    @classmethod
    def open(cls, path: str | Path, trusted: bool = False) -> RunDir:
        """A run that exists. Raises RunError where there is none."""
        path = Path(os.path.expanduser(path))  # noqa: PTH111 - raises nothing without a home
        missing = [name for name in ("config.yaml", "status.json") if not (path / name).is_file()]
        if missing:
            what = f"has no {missing[0]}" if path.is_dir() else "no such folder"
            raise RunError(f"{path}: is no run directory ({what}); expected one of outputs/...")
        run = cls(path, trusted=trusted)
        run.check_links()
        return run

    @classmethod
    def open_finished(cls, path: str | Path, trusted: bool = False) -> RunDir:
        """A run that can be used. Raises RunError for one that is unfinished."""
        run = cls.open(path, trusted)
        if not run.finished:
            raise RunError(
                f"{path}: is not finished (state {run.state}, {run.position()}); "
                f"go on with pets train resume={path}"
            )
        return run

    def claim(self) -> None:
        """Hold the run for this process. Raises RunError while another process holds it."""
        try:
            self._lock.acquire(timeout=1)  # who reads the state holds it for a moment
        except Timeout as error:
            raise RunError(f"{self.path}: is being trained by another process") from error

    def held(self) -> bool:
        """Whether a process trains here at this moment."""
        file = self.path / ".lock"
        try:
            if not file.exists():
                return False
            with FileLock(file, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # of somebody else, who may be training
            return False

    def check_links(self) -> None:
        """Raises RunError where a link leads out of a run that is not trusted."""
        if not self.trusted:
            trust.check_links(self.path)

    @property
    def config(self) -> dict[str, Any]:
        """The composed config as plain values; of a run that is not trusted, without what reaches
        outside it.

        Raises:
            RunError: the file is damaged, or the config of an untrusted run names something that
                pets does not come with.
        """
        values = self.read_config()
        if self.trusted:
            return values
        values = trust.inside(values)
        trust.check(values, self.path / "config.yaml")
        return values

    def read_config(self) -> dict[str, Any]:
        """What `config.yaml` says, to be read and not to be built. Raises RunError where it is
        damaged."""
        file = self.path / "config.yaml"
        try:
            values = yaml.load(file.read_text(encoding="utf-8"), trust.PlainLoader)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"{file}: cannot be read ({reason})") from error
        if not isinstance(values, dict):
            raise RunError(f"{file}: is no config")
        return values

    @property
    def train_config(self) -> TrainConfig:
        """The composed config, typed. Raises RunError for one that this version cannot use."""
        try:
            return typed_values(TrainConfig, self.config)
        except ConfigError as error:
            reason = str(error).splitlines()[0].partition(";")[0]
            raise RunError(
                f"{self.path / 'config.yaml'}: does not fit this version of pets ({reason}); "
                f"it was written by {self.read_json('environment.json').get('pets')}"
            ) from error

    def update_config(self, key: str, value: Any) -> None:
        """Change one value of `config.yaml`, by its dotted key, in one step."""
        if not self.writes:
            return
        values = self.read_config()
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[last] = value
        part = self.path / ".config.yaml.part"
        part.write_text(to_yaml(values), encoding="utf-8")
        part.replace(self.path / "config.yaml")

    @property
    def overrides(self) -> list[str]:
        """What was typed, beside what the run's configs say. Raises RunError for a damaged file."""
        try:
            text = (self.path / "overrides.yaml").read_text(encoding="utf-8")
            words = yaml.load(text, trust.PlainLoader) or []
        except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise RunError(f"{self.path / 'overrides.yaml'}: cannot be read ({error})") from error
        if not isinstance(words, list):
            raise RunError(f"{self.path / 'overrides.yaml'}: is no list")
        return [str(word) for word in words]

    @property
    def status(self) -> dict[str, Any]:
        """What `status.json` says. Raises RunError when the file is damaged."""
        return self.read_json("status.json")

    def update_status(self, **changes: Any) -> None:
        """Change some of `status.json` in one step."""
        if not self.writes:
            return
        status = self.status if (self.path / "status.json").exists() else {}
        self.write_json("status.json", status | changes | {"updated": _now()})

    def add_seconds(self, what: str, seconds: float) -> None:
        """Wall time of a part of the run, on top of what it took before a resume."""
        spent = dict(self.status.get("seconds", {}))
        spent[what] = round(spent.get(what, 0.0) + seconds, 3)
        self.update_status(seconds=spent)

    def finish(self, results: Mapping[str, Any]) -> None:
        """The run reached its end."""
        self.update_status(state="finished", ended=_now(), results=results, error=None)

    def discard(self) -> None:
        """Remove the files of a run that has read no photos; others' stay."""
        if not self.writes or (self.path / "photos.csv").exists():
            return
        self._lock.release(force=True)
        with contextlib.suppress(OSError):
            (self.path / "checkpoints").rmdir()
        for name in ("config.yaml", "overrides.yaml", "environment.json", "status.json", ".lock"):
            (self.path / name).unlink(missing_ok=True)

    @property
    def state(self) -> str:
        """`waiting`, `running`, `interrupted`, `failed` or `finished`.

        A run whose process is gone is interrupted, whatever its file says: its lock is free.
        """
        state = str(self.status.get("state"))
        return "interrupted" if state == "running" and not self.held() else state

    @property
    def finished(self) -> bool:
        """Whether the training came to its end, whatever became of the report after it."""
        return self.status.get("state") == "finished"

    def position(self) -> str:
        """How far the run came, in words."""
        status = self.status
        if not status.get("stage"):
            return "before its first epoch"
        done, epochs = status.get("epoch", "?"), status.get("epochs", "?")
        return f"stage {status['stage']}, {done} of {epochs} epochs"

    def checkpoint(self, name: str = "last") -> Path:
        """`last`: where the run goes on; `best`: the one with the lowest validation error."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def root(self, root: str) -> Path:
        """The data folder as the config names it: from here, or from where the run was started."""
        here = Path(root)
        if here.exists() or here.is_absolute():
            return here
        started = Path(self.read_json("environment.json").get("folder", "."))
        return started / root if (started / root).exists() else here

    def read_json(self, name: str) -> dict[str, Any]:
        """One of the JSON files. Raises RunError when it is missing or damaged."""
        try:
            values = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.path / name}: cannot be read ({error})") from error
        if not isinstance(values, dict):
            raise RunError(f"{self.path / name}: cannot be read (no JSON object)")
        return values

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """One of the JSON files, replaced in one step."""
        if not self.writes:
            return
        file = self.path / name
        part = file.with_name(f".{file.name}.part")
        part.write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
        part.replace(file)


def from_here(folder: str) -> Path:
    """The folder as seen from here, where it is below: what a user would type."""
    path = Path(folder)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
