"""The jobs of a sweep: each a run directory, prepared before any of them is trained."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

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
    """One run of a sweep, and its config."""

    run: RunDir
    config: TrainConfig

    @property
    def name(self) -> str:
        return self.run.path.name

    @property
    def valid_error(self) -> float | None:
        """The validation error of a finished run, a share of 1; None where there is none.

        The test error is not for choosing.
        """
        valid: Mapping[str, Any] = self.run.status.get("results", {}).get("valid", {})
        return valid.get("error_rate") if self.run.finished else None

    def outcome(self) -> str:
        """The result in words: `error 7.1 %`, or the state and why."""
        if self.run.finished:
            error = self.valid_error
            return "no validation photos" if error is None else f"error {100 * error:.1f} %"
        status = self.run.status
        lines = str(status.get("error") or "").strip().splitlines()  # the last one of a traceback
        return ": ".join([self.run.state, *lines[-1:]])


def job_config(cfg: DictConfig) -> TrainConfig:
    """The typed config of one job, from what Hydra has composed. Raises ConfigError."""
    task = copy.copy(cfg)
    OmegaConf.set_struct(task, False)
    task.pop("hydra")
    return typed(TrainConfig, task)


def identity(config: TrainConfig) -> str:
    """A hash of what a run trains: its config without paths and devices."""
    values = config.model_dump(by_alias=True, mode="json")
    values["ranks"] = ranks_of(config.trainer)  # the batches of all make one step
    for key in MAY_CHANGE:
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section.pop(last, None)
    del values["sweep"]
    return blake2b(to_json(values, sort_keys=True).encode(), digest_size=16).hexdigest()


def check_swept(swept: Sequence[Sequence[str]]) -> None:
    """Raise ConfigError where jobs differ in a key that does not make two runs different."""
    for key in MAY_CHANGE:
        values = dict.fromkeys(o for job in swept for o in job if o.startswith(f"{key}="))
        if len(values) > 1:
            typed = ",".join(override.partition("=")[2] for override in values)
            raise ConfigError(
                f"{key}={typed}: says where things lie or what they run on, and does not make two "
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
    """Find or create the run directory of each job.

    Args:
        folder: The sweep's folder.
        configs: Config and overrides of each job. A job whose run is in the folder already, in
            whatever state, gets that run.
        swept: Of each job the overrides in which the jobs differ; they name a new run. New runs are
            numbered after those in the folder.
        trusted: Whether the runs in the folder may name code of their own; new ones may.
    """
    runs = {run.status.get("identity"): run for run in runs_of(folder, trusted)}
    number = max((_number(run.path) or 0 for run in runs.values()), default=-1) + 1
    width = len(str(number + len(configs) - 1))
    jobs = []
    for (config, overrides), differing in zip(configs, swept, strict=True):
        same = identity(config)
        if same not in runs:
            path = folder / _directory_name(f"{number:0{width}}", differing)
            values = config.model_dump(by_alias=True, mode="json") | {"trust": False}
            runs[same] = RunDir.prepare(path, values, overrides, identity=same)
            number += 1
        jobs.append(Job(runs[same], config))
    return jobs


def unfinished(folder: Path, trusted: bool = False) -> list[Job]:
    """The jobs of a sweep that are not finished."""
    runs = [run for run in runs_of(folder, trusted) if not run.finished]
    return [Job(run, run.train_config) for run in runs]


def _directory_name(number: str, overrides: Sequence[str]) -> str:
    """`07_resnet34_lr0.001_seed0`: the number and the values, each after its key's last part where
    it needs one; without characters that a shell, Hydra or a file system would interpret."""
    parts = [number]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        last = re.split(r"[./]", key)[-1]
        speaks = re.match(r"[a-zA-Z]", value) and value not in ("true", "false", "null", "auto")
        parts.append(re.sub(r"[^\w.+-]+", "-", value if speaks else last + value).strip("-"))
    return "_".join(parts)[:_LONGEST_NAME]


def _number(path: Path) -> int | None:
    match = re.match(r"\d+(?=_|$)", path.name)
    return int(match[0]) if match and path.is_dir() else None
