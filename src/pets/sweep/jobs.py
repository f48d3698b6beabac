"""The jobs of a sweep: run directories that are prepared before any of them is trained."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from pets.commands.train import MAY_CHANGE
from pets.config import TrainConfig
from pets.distributed.ranks import ranks_of
from pets.errors import ConfigError
from pets.io.serialize import to_json
from pets.run_dir import RunDir

log = logging.getLogger(__name__)

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
    def score(self) -> float | None:
        """The metric that a finished run monitors, or None.

        By default it is the validation error as a fraction.

        Sweeps select on it, never on the test photos.
        """
        results = self.run.status.get("results", {})
        return self.run.monitor.value(results) if self.run.finished else None


def log_outcome(job: Job, count: int, jobs: int) -> None:
    """Log the outcome of the `count`-th job: its score, or its state and error."""
    score, monitor = job.score, job.run.monitor
    lines = str(job.run.status.get("error") or "").strip().splitlines()
    outcome = ": ".join([job.run.state, *lines[-1:]])  # the last line of a traceback
    if job.run.ended:
        outcome = f"pruned ({job.run.position()})"
    if job.run.finished:
        shown = "" if score is None else f"{monitor.words} {monitor.show(score)}"
        outcome = shown or f"no validation {monitor.words}"
    level = logging.INFO if job.run.ended else logging.WARNING
    log.log(level, "%s/%s  %s: %s", count, jobs, job.name, outcome)


def identity(config: TrainConfig) -> str:
    """Return a hash of what a run trains: its config without paths and devices."""
    values = config.model_dump(by_alias=True, mode="json", exclude={"sweep"})
    values["ranks"] = ranks_of(config.trainer)  # the batches of all ranks make up one step
    for key in MAY_CHANGE:
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section.pop(last, None)
    return blake2b(to_json(values, sort_keys=True).encode(), digest_size=16).hexdigest()


def check_swept(swept: Sequence[Sequence[str]]) -> None:
    """Raise ConfigError if jobs differ in a key that is not part of a run's identity."""
    for key in MAY_CHANGE:
        values = dict.fromkeys(o for job in swept for o in job if o.startswith(f"{key}="))
        if len(values) > 1:
            typed = ",".join(override.partition("=")[2] for override in values)
            raise ConfigError(
                f"{key}={typed}: is a path or a device, which does not distinguish two "
                "runs of a sweep; expected one value, or one sweep per value"
            )


def runs_of(folder: Path, trusted: bool = False) -> list[RunDir]:
    """Return the runs of a sweep, ordered by number."""
    paths = folder.iterdir() if folder.is_dir() else ()
    numbered = {path: number for path in paths if (number := _number(path)) is not None}
    return [
        RunDir(path, trusted=trusted)
        for path in sorted(numbered, key=lambda path: (numbered[path], path.name))
        if (path / "status.json").exists()
    ]


def prepare(
    folder: Path,
    configs: Sequence[tuple[TrainConfig, Sequence[str]]],
    swept: Sequence[Sequence[str]],
    trusted: bool = False,
) -> list[Job]:
    """Find the run of each job in the sweep's folder, in whatever state, or prepare a new one.

    A new run is named by the overrides in which the jobs differ (`swept`), and numbered after the
    existing ones, whose configs may import arbitrary code if they are `trusted`.
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


def _directory_name(number: str, overrides: Sequence[str]) -> str:
    """Return a name like `07_resnet34_lr0.001_seed0`, without characters that need quoting.

    It is the number and the values, with the last part of the key before values such as numbers.
    """
    parts = [number]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        last = re.split(r"[./]", key)[-1]
        is_name = re.match(r"[a-zA-Z]", value) and value not in ("true", "false", "null", "auto")
        parts.append(re.sub(r"[^\w.+-]+", "-", value if is_name else last + value).strip("-"))
    return "_".join(parts)[:_LONGEST_NAME]


def _number(path: Path) -> int | None:
    match = re.match(r"\d+(?=_|$)", path.name)
    return int(match[0]) if match and path.is_dir() else None
