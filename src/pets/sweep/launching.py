"""What all launchers do: prepare the jobs of a sweep, have them run, hand on what they reached."""

from __future__ import annotations

import contextlib
import logging
import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from pets.config import TrainConfig
from pets.errors import ConfigError, PetsError, RunError
from pets.run_dir import from_here
from pets.sweep.finish import valid_error
from pets.sweep.jobs import Job, check_swept, composed, prepare, runs_of, unfinished
from pets.sweep.overrides import FILE, keep_words, kept_words
from pets.sweep.slurm_queue import in_slurm
from pets.trust import TRUST, check

log = logging.getLogger(__name__)


class SweepLauncher(Launcher):
    """Hydra launcher whose jobs are run directories: `run_jobs` has the training in each go on to
    its end, somewhere.

    Every job is composed and checked before the first one runs. A failed one takes no other along;
    its objective is not a number.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config

    @abstractmethod
    def run_jobs(self, jobs: Sequence[Job], folder: Path) -> None:
        """Run all jobs to their end; returns when none is left. What became of each is in its
        run directory's status."""

    def get_ready(self) -> None:
        """Begin what takes time and needs no job."""

    def check(self, config: TrainConfig) -> None:
        """Raises ConfigError for a job that could not run there, before any is prepared."""

    def check_all(self, configs: Sequence[TrainConfig]) -> None:
        """The same for what only a process that has torch can check, for all jobs at once."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run a batch; a job's return value is its error rate on the validation photos."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        folder = from_here(str(self.config.hydra.sweep.dir))
        try:
            self.get_ready()
            self._check_hydra()
            total = self._jobs(folder, job_overrides)
        except PetsError:
            _leave_nothing(folder)
            raise
        unique = {job.run.path: job for job in total}.values()
        jobs = [job for job in unique if not job.run.finished]
        # What another process trains at this moment is left to it.
        waiting = [job for job in jobs if not self.runs_elsewhere(job)]
        same, done, busy = (
            len(total) - len(unique), len(unique) - len(jobs), len(jobs) - len(waiting)
        )  # fmt: skip
        log.info(
            "%s: %s to train%s%s%s", folder, _runs(len(waiting)),
            f", {done} finished already" if done else "",
            f", {busy} being trained by another process" if busy else "",
            f"; {same} given twice, trained once" if same else "",
        )  # fmt: skip
        if waiting:
            self.run_jobs(waiting, folder)
        return [_returned(job) for job in total]

    def runs_elsewhere(self, job: Job) -> bool:
        """Whether another process trains the job at this moment, or Slurm has it."""
        return job.run.held() or in_slurm(job.run)

    def log_config(self, job: Job) -> dict[str, Any]:
        """Hydra's logging config for a job, with the log file in the run's directory."""
        node = OmegaConf.create({"hydra": self.config.hydra})
        node.hydra.runtime.output_dir = str(job.run.path.resolve())
        found = OmegaConf.to_container(node.hydra.job_logging, resolve=True)
        assert isinstance(found, dict)
        return {str(key): value for key, value in found.items()}

    def _check_hydra(self) -> None:
        """Raises ConfigError for words to Hydra that would have no effect."""
        subdir = self.config.hydra.sweep.subdir
        if subdir != "auto":
            raise ConfigError(
                f"hydra.sweep.subdir={subdir}: a sweep's run directories have their number and "
                "what is swept as names; expected auto"
            )
        for word in self.config.hydra.overrides.hydra:
            if word.startswith("hydra.run."):
                raise ConfigError(f"{word}: is for one run; a sweep has hydra.sweep.dir")

    def _jobs(self, folder: Path, job_overrides: Sequence[Sequence[str]]) -> list[Job]:
        resumed = OmegaConf.select(self.config, "sweep.resume")
        trusted = OmegaConf.select(self.config, "trust") is True
        if resumed is not None and not runs_of(folder):
            raise RunError(
                f"sweep.resume={resumed}: holds no runs; expected a folder of outputs/sweeps"
            )
        if resumed is not None and not any(map(_swept, job_overrides[0])):
            return unfinished(folder, trusted)
        same = self._same_in_all(kept_words(folder) if resumed is not None else None)
        configs, swept = [], []
        for words in job_overrides:
            config, overrides = self._composed(words)
            if resumed is not None and not trusted:
                _check_foreign(config, folder / FILE)
            configs.append((config, overrides))
            swept.append([word for word in overrides if word.partition("=")[0] not in same])
        check_swept(swept)
        self.check_all([config for config, _ in configs])
        if not runs_of(folder):
            folder.mkdir(parents=True, exist_ok=True)
            words = self.config.hydra.overrides
            keep_words(folder, [*words.hydra, *words.task])
        return prepare(folder, configs, swept, trusted)

    def _same_in_all(self, began: Sequence[str] | None) -> set[str]:
        """The keys that were typed with one value. Of a resumed sweep, which `began` with these
        words, a value that it did not have says what is new."""
        parser = OverridesParser.create(self.hydra_context.config_loader)
        typed = parser.parse_overrides(list(self.config.hydra.overrides.task))
        last = {word.get_key_element(): word for word in typed}  # what is typed later wins
        return {
            key
            for key, word in last.items()
            if not word.is_sweep_override() and (began is None or word.input_line in began)
        }

    def _composed(self, words: Sequence[str]) -> tuple[TrainConfig, list[str]]:
        loader = self.hydra_context.config_loader
        cfg = loader.load_sweep_config(self.config, list(words))
        with open_dict(cfg):
            cfg.hydra.job.id = cfg.hydra.job.num = 0  # where a config asks; names are pets' own
        HydraConfig.instance().set_config(cfg)
        overrides = [word for word in cfg.hydra.overrides.task if _swept(word)]
        config = composed(cfg)
        if config.resume is not None:
            raise ConfigError(
                f"resume={config.resume}: is for one run; a sweep goes on with "
                "sweep.resume=<its folder>"
            )
        self.check(config)
        return config, overrides


def _check_foreign(config: TrainConfig, file: Path) -> None:
    """Some of the words are those of a sweep's folder, which may be a stranger's."""
    values = config.model_dump(by_alias=True, mode="json", exclude={"data": {"prepare"}})
    check(values, file)
    root = config.data.root
    if config.data.prepare is not None and not Path(root).exists():
        raise RunError(
            f"data.root={root}: is not there, and is not made for a resumed sweep; expected the "
            f"photos; give data.root=<their folder>, or {TRUST}"
        )


def _leave_nothing(folder: Path) -> None:
    """Remove what Hydra made for a sweep that never began."""
    if not runs_of(folder):
        for name in ("multirun.yaml", FILE):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _swept(word: str) -> bool:
    """Whether an override is about a run, not about the sweep as a whole."""
    return not word.lstrip("+").startswith(("sweep.", "trust="))


def _returned(job: Job) -> JobReturn:
    found = JobReturn(overrides=list(job.run.overrides), status=JobStatus.COMPLETED)
    error = valid_error(job.run)
    found.return_value = math.nan if error is None else error
    return found


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"
