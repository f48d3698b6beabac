"""Base class of the launchers: prepare the jobs of a sweep, train them, report the results."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import shlex
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from pets.config import TrainConfig
from pets.config.validation import typed
from pets.errors import ConfigError, PetsError, RunError
from pets.io.serialize import to_override
from pets.run_dir import from_here
from pets.sweep.compose import Composer
from pets.sweep.jobs import Job, check_swept, prepare, runs_of
from pets.sweep.overrides import FILE, save_overrides, saved_overrides
from pets.sweep.slurm_queue import in_slurm
from pets.trust import TRUST, check, sends

log = logging.getLogger(__name__)


class SweepLauncher(Launcher):
    """Hydra launcher whose jobs are run directories; a subclass trains them in `run_jobs`.

    Every job is composed and checked before the first one runs. A failed job does not affect the
    others; its result is NaN.
    """

    # Set by a sweeper that prunes: whether to stop a job of the batch, by its index, its validation
    # error after each epoch so far, and how many epochs it has.
    prune: Callable[[int, Sequence[float], int], bool] | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.config = hydra_context, config

    @abstractmethod
    def run_jobs(self, jobs: Sequence[Job], folder: Path) -> None:
        """Train all jobs and return when all have ended; the results are in their status files."""

    def start(self) -> None:
        """Start slow set-up that needs no job."""

    @abstractmethod
    def check(self, configs: Sequence[TrainConfig]) -> None:
        """Raise ConfigError if a job cannot run with this launcher, before any is prepared."""

    def runs_elsewhere(self, job: Job) -> bool:
        """Whether the job is running in another process, or is queued or running in Slurm."""
        return job.run.held() or in_slurm(job.run)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train a batch of jobs; the return value of each is its score."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        folder = from_here(str(self.config.hydra.sweep.dir))
        try:
            self.start()
            jobs = self._prepare(folder, job_overrides)
        except PetsError:
            _remove_empty(folder)
            raise
        # Two trials may have the same values, and share a run.
        unique = list({job.run.path: job for job in jobs}.values())
        unfinished = [job for job in unique if not job.run.ended]
        self.index = {job.run.path: index for index, job in enumerate(jobs)}
        waiting = [job for job in unfinished if not self.runs_elsewhere(job)]
        log.info("%s: %s of %s runs to train", folder, len(waiting), len(unique))
        if len(unfinished) > len(waiting):
            log.info("%s being trained by another process", len(unfinished) - len(waiting))
        if waiting:
            self.run_jobs(waiting, folder)
        returned = []
        for job in jobs:
            result = JobReturn(overrides=list(job.run.overrides), status=JobStatus.COMPLETED)
            result.working_dir = str(job.run.path)
            result.return_value = math.nan if job.score is None else job.score
            returned.append(result)
        return returned

    def log_config(self, job: Job) -> dict[str, Any]:
        """Hydra's logging config for a job, with the log file in the run's directory."""
        node = OmegaConf.create({"hydra": self.config.hydra})
        node.hydra.runtime.output_dir = str(job.run.path.resolve())
        config: Any = OmegaConf.to_container(node.hydra.job_logging, resolve=True)
        return config

    def _prepare(self, folder: Path, job_overrides: Sequence[Sequence[str]]) -> list[Job]:
        for override in self.config.hydra.overrides.hydra:
            if override.startswith(("hydra.run.", "hydra.sweep.subdir")):
                raise ConfigError(f"{override}: is not for sweeps; use hydra.sweep.dir=<folder>")
        resumed = OmegaConf.select(self.config, "sweep.resume")
        trusted = OmegaConf.select(self.config, "trust") is True
        runs = runs_of(folder, trusted)
        if resumed is not None and not runs:
            raise RunError(
                f"sweep.resume={resumed}: holds no runs; expected a folder of outputs/sweeps"
            )
        if resumed is not None and not any(map(_is_about_run, job_overrides[0])):
            return [Job(run, run.train_config) for run in runs if not run.ended]
        fixed = self._fixed(None if resumed is None else saved_overrides(folder))
        configs, swept = [], []
        composer = Composer(self.hydra_context, self.config)
        for job in job_overrides:
            config, overrides = _config_of(*composer.compose(job))
            if resumed is not None and not trusted:
                _check_foreign(config, folder / FILE)
            configs.append((config, overrides))
            swept.append([override for override in overrides if override not in fixed])
        check_swept(swept)
        self.check([config for config, _ in configs])
        if not runs:
            folder.mkdir(parents=True, exist_ok=True)
            given = self.config.hydra.overrides
            save_overrides(folder, [*given.hydra, *given.task])
        return prepare(folder, configs, swept, trusted)

    def _fixed(self, saved: Sequence[str] | None) -> set[str]:
        """Return the overrides shared by all jobs, which are left out of the runs' names.

        In a resumed sweep only the saved ones: new values distinguish new runs from old ones.
        """
        parser = OverridesParser.create(self.hydra_context.config_loader)
        return {
            f"{override.get_key_element()}={override.get_value_element_as_str()}"
            for override in parser.parse_overrides(list(self.config.hydra.overrides.task))
            if not override.is_sweep_override() and (saved is None or override.input_line in saved)
        }


class SweepEnd(Callback):
    """Hydra callback at the end of a sweep: its summary, and an exit code."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Exit with 1 unless every run in the sweep's folder is finished or pruned."""
        from pets.summary import show_summary

        folder = from_here(str(config.hydra.sweep.dir))
        try:
            show_summary(folder)
        except PetsError as error:  # the exit code is about the runs
            log.error("%s", error)
        if not all(run.ended for run in runs_of(folder)):
            log.error("to run the rest: %s", resume_command(config, folder))
            raise SystemExit(1)


def resume_command(config: DictConfig, folder: Path) -> str:
    """Return the command that resumes a sweep with the same launcher."""
    overrides = [o for o in config.hydra.overrides.hydra if re.match(r"hydra[./]launcher", o)]
    return shlex.join(["pets", "train", "-m", to_override("sweep.resume", folder), *overrides])


def _config_of(task: DictConfig, overrides: Sequence[str]) -> tuple[TrainConfig, list[str]]:
    """Return the typed config of a job, and the overrides that are about its run."""
    config = typed(TrainConfig, task)
    if config.resume is not None:
        raise ConfigError(
            f"resume={config.resume}: is for a single run; resume a sweep with "
            "sweep.resume=<its folder>"
        )
    return config, [override for override in overrides if _is_about_run(override)]


def _check_foreign(config: TrainConfig, file: Path) -> None:
    """Refuse a config that references code: part of it is from a folder that is not trusted."""
    values = config.model_dump(by_alias=True, mode="json", exclude={"data": {"prepare"}})
    check(values, file)
    if sent := sends(values):
        raise RunError(f"{file}: logger.{sent[0]} sends what it logs to a server; {TRUST}")
    root = config.data.root
    if config.data.prepare is not None and not Path(root).exists():
        raise RunError(
            f"data.root={root}: does not exist, and a resumed sweep does not create it; "
            f"give data.root=<their folder>, or {TRUST}"
        )


def _remove_empty(folder: Path) -> None:
    """Remove what Hydra has written for a sweep that never started."""
    if not runs_of(folder):
        for name in ("multirun.yaml", "optuna.sqlite", FILE):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _is_about_run(override: str) -> bool:
    """Whether an override is about single runs, not about the sweep as a whole."""
    return not override.lstrip("+").startswith(("sweep.", "trust="))
