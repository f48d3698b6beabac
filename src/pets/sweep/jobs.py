"""The jobs of a sweep: composed, checked and given run directories before any of them runs."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pets.commands.train import MAY_CHANGE
from pets.config import TrainConfig
from pets.config.validation import typed
from pets.distributed.ranks import ranks_of
from pets.errors import ConfigError
from pets.io.serialize import to_json
from pets.run_dir import RunDir

_LONGEST_NAME = 80


@dataclass(frozen=True)
class Job:
    """One run of a sweep, and what it needs of the machine."""

    run: RunDir
    config: TrainConfig

    @property
    def name(self) -> str:
        return self.run.path.name


def composed(cfg: DictConfig) -> TrainConfig:
    """The config of one job, typed. Raises ConfigError."""
    task = copy.copy(cfg)
    OmegaConf.set_struct(task, False)
    task.pop("hydra")
    return typed(TrainConfig, task)


def identity(config: TrainConfig) -> str:
    """What a run trains, as a hash: the config without where things lie and what it runs on."""
    values = config.model_dump(by_alias=True, mode="json")
    values["ranks"] = ranks_of(config.trainer)  # whose batches make one step
    for key in MAY_CHANGE:
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section.pop(last, None)
    del values["sweep"]
    return blake2b(to_json(values, sort_keys=True).encode(), digest_size=16).hexdigest()


def check_swept(swept: Sequence[Sequence[str]]) -> None:
    """Raises ConfigError where runs would differ in what does not make them different."""
    for key in MAY_CHANGE:
        values = dict.fromkeys(w for words in swept for w in words if w.startswith(f"{key}="))
        if len(values) > 1:
            given = ",".join(word.partition("=")[2] for word in values)
            raise ConfigError(
                f"{key}={given}: says where things lie or what they run on, and does not make two "
                "runs of a sweep different; expected one value, or a sweep for each"
            )


def runs_of(folder: Path, trusted: bool = False) -> list[RunDir]:
    """The runs of a sweep by their number."""
    if not folder.is_dir():
        return []
    numbered = [path for path in folder.iterdir() if _number(path) is not None]
    return [
        RunDir(path, trusted=trusted)
        for path in sorted(numbered, key=lambda path: (_number(path), path.name))
        if (path / "status.json").exists()
    ]


def prepare(
    folder: Path,
    configs: Sequence[tuple[TrainConfig, Sequence[str]]],
    swept: Sequence[Sequence[str]],
    trusted: bool = False,
) -> list[Job]:
    """A job for each of the configs with their overrides; its run is in the sweep's folder.

    Where the folder has a run of the same identity, that is the job's: finished, begun or waiting.
    New ones are numbered after all that are there, and named after `swept`, the overrides in which
    the jobs differ. Those that are there are `trusted` or not; the new ones are.
    """
    there = {run.status.get("identity"): run for run in runs_of(folder, trusted)}
    number = max((_number(run.path) or 0 for run in there.values()), default=-1) + 1
    width = len(str(number + len(configs) - 1))
    jobs = []
    for (config, overrides), words in zip(configs, swept, strict=True):
        known = identity(config)
        if known not in there:
            path = folder / _directory(f"{number:0{width}}", words)
            values = config.model_dump(by_alias=True, mode="json") | {"trust": False}
            there[known] = RunDir.prepare(path, values, overrides, identity=known)
            number += 1
        jobs.append(Job(there[known], config))
    return jobs


def unfinished(folder: Path, trusted: bool = False) -> list[Job]:
    """Every run of a sweep that is not finished."""
    runs = [run for run in runs_of(folder, trusted) if not run.finished]
    return [Job(run, run.train_config) for run in runs]


def _directory(number: str, overrides: Sequence[str]) -> str:
    """`07_resnet34_lr0.001_seed0`: the number, and the value of every override, with its key's last
    part where that says more; without what a shell, Hydra or a file system would take for something
    else."""
    words = []
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        last = re.split(r"[./]", key)[-1]
        speaks = re.match(r"[a-zA-Z]", value) and value not in ("true", "false", "null", "auto")
        words.append(re.sub(r"[^\w.+-]+", "-", value if speaks else last + value).strip("-"))
    return "_".join([number, *words])[:_LONGEST_NAME]


def _number(path: Path) -> int | None:
    found = re.match(r"\d+(?=_|$)", path.name)
    return int(found[0]) if found and path.is_dir() else None
