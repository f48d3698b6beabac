"""Optuna as a Hydra sweeper: it chooses the next runs by the results of earlier ones."""

from __future__ import annotations

import inspect
import logging
import math
import threading
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)  # fmt: skip
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from pets.config import Target, TrainConfig
from pets.config.instantiate import build, check_signature
from pets.config.monitor import ERROR_RATE, Monitor
from pets.errors import ConfigError
from pets.run_dir import RunDir
from pets.system.installation import install
from pets.trust import check

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Hydra sweeper that searches for the best `monitor` with Optuna.

    The monitor is by default the validation error. Optuna's ask-and-tell interface is used.

    A trial is a run; the study is stored in the sweep's folder, so that `sweep.resume` continues
    it. (hydra-optuna-sweeper needs Optuna 2, and stops at a failed trial.)

    Args:
        n_trials: Total number of runs, including those before a resume.
        n_jobs: Number of runs proposed per batch.
        sampler: `_target_` and arguments of one of Optuna's samplers.
        pruner: The same of one of its pruners, which stops hopeless trials after an epoch.
        params: The search space, extended by the command line: `key: interval(1e-4,1e-2)`, also
            `tag(log,interval(a,b))`, `choice(a,b)`, `a,b` and `range(1,8)`.
    """

    def __init__(
        self,
        n_trials: int,
        n_jobs: int,
        sampler: Any,
        pruner: Any,
        params: Mapping[str, Any] | None,
    ) -> None:
        if find_spec("optuna") is None:
            raise ConfigError(f"hydra/sweeper=optuna: it is not installed; {install('optuna')}")
        for name, value in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"hydra.sweeper.{name}={value}: expected a whole number of at least 1"
                )
        self.n_trials, self.n_jobs = n_trials, n_jobs
        self.sampler = _target("sampler", sampler)
        self.pruner = _target("pruner", pruner)
        self.params = dict(params or {})
        self.lock = threading.Lock()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        plugins = Plugins.instance()
        self.launcher: Any = plugins.instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.parser = OverridesParser.create(hydra_context.config_loader)
        self.folder = Path(str(config.hydra.sweep.dir))
        self.composed: DictConfig = config

    def sweep(self, arguments: list[str]) -> None:
        """Ask for trials, run them, and report their results, until there are `n_trials`."""
        params = [f"{key}={value}" for key, value in self.params.items()]
        parsed = self.parser.parse_overrides([*params, *arguments])
        last = {o.get_key_element(): o for o in parsed}  # the last one wins
        searched = {key: distribution(o) for key, o in last.items() if o.is_sweep_override()}
        if not searched:
            raise ConfigError(
                "hydra/sweeper=optuna: nothing to search; give a key as "
                "key='interval(1e-4,1e-2)' or key=a,b,c"
            )
        if "monitor" in searched:
            raise ConfigError("monitor: a search has one; expected one value, without commas")
        fixed = [
            f"{key}={override.get_value_element_as_str()}"
            for key, override in last.items()
            if not override.is_sweep_override()
        ]
        from optuna.trial import TrialState

        study = self._study(sorted(searched))
        log.info("%s", self._plan(len(study.trials)))
        while trials := self._next(study, searched):
            jobs = [
                [*fixed, *(f"{key}={trial.params[key]}" for key in searched)] for trial in trials
            ]
            if not self.pruner.target.endswith(".NopPruner"):
                numbers = [trial.number for trial in trials]
                self.launcher.prune = partial(self._is_hopeless, study, numbers)
            returned = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
            for trial, job in zip(trials, returned, strict=True):
                score = float(job.return_value)
                if RunDir(Path(job.working_dir)).state == "pruned":
                    study.tell(trial.number, state=TrialState.PRUNED)
                elif math.isnan(score):
                    study.tell(trial.number, state=TrialState.FAIL)
                else:
                    study.tell(trial.number, score)

    def _study(self, keys: list[str]) -> optuna.Study:
        """Open or create the study in the sweep's folder. Raises ConfigError if its keys differ."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        monitor = self._monitor()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.storage = optuna.storages.RDBStorage(f"sqlite:///{self.folder / 'optuna.sqlite'}")
        study = optuna.create_study(
            storage=self.storage,
            study_name="sweep",
            direction="maximize" if monitor.maximize else "minimize",
            load_if_exists=True,
        )
        new = not study.trials
        before = study.user_attrs.get("searched", keys)
        if before != keys:
            raise ConfigError(
                f"sweep.resume={self.folder}: was searched over {', '.join(before)}, not over "
                f"{', '.join(keys)}; expected the same keys, or a new sweep"
            )
        searched_for = study.user_attrs.get("monitor", monitor.key if new else ERROR_RATE.key)
        if searched_for != monitor.key:
            raise ConfigError(
                f"monitor={monitor.key}: the sweep was searched by {searched_for}; expected that, "
                "or a new sweep"
            )
        study.set_user_attr("monitor", monitor.key)
        study.set_user_attr("searched", keys)
        sampler = self.sampler.model_dump(by_alias=True)
        if sampler.get("seed") is not None:  # the same seed would repeat the study's first trials
            sampler["seed"] += len(study.trials)
        study.sampler = build("hydra.sweeper.sampler", Target.model_validate(sampler))
        study.pruner = build("hydra.sweeper.pruner", self.pruner)
        return study

    def _plan(self, done: int) -> str:
        """Describe how many trials are random, for samplers that say so."""
        startup = (self.sampler.model_extra or {}).get("n_startup_trials")
        if startup is None:
            startup = _default(self.sampler, "n_startup_trials")
        text, name = f"{self.n_trials} trials", self.sampler.target.rpartition(".")[2]
        text += f", {done} of them begun before" if done else ""
        if done >= self.n_trials:
            return f"all {done} trials are done; for more: hydra.sweeper.n_trials=<total number>"
        if isinstance(startup, int) and startup >= self.n_trials:
            return f"{text}, all random: {name} would learn from the results of {startup} on"
        if isinstance(startup, int):
            text += f"; the first {startup} are random, the others learn from the results before"
        return f"{text} ({name})"

    def _is_hopeless(
        self, study: optuna.Study, numbers: list[int], index: int, scores: list[float], epochs: int
    ) -> bool:
        """Report the epochs of a batch's running trial, and ask the pruner after each new one."""
        with self.lock:  # the jobs of a batch are watched by threads
            study_id = self.storage.get_study_id_from_name(study.study_name)
            number = numbers[index]
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
            for epoch in range(len(study.trials[number].intermediate_values) + 1, len(scores) + 1):
                self.storage.set_trial_intermediate_value(trial_id, epoch, scores[epoch - 1])
                if study.pruner.prune(study, study.trials[number]):
                    return True
        return False

    def _monitor(self) -> Monitor:
        """The metric to search by. Raises ConfigError, RunError."""
        values: Any = OmegaConf.to_container(
            OmegaConf.masked_copy(self.composed, ["metrics", "monitor"]), resolve=True
        )
        chosen, name = values["metrics"], values["monitor"]
        chosen = [chosen] if isinstance(chosen, str) else chosen
        if self.composed.sweep.resume is not None and self.composed.trust is not True:
            check({"metrics": chosen}, self.folder)
        if (name, chosen) == (ERROR_RATE.key, []):
            return ERROR_RATE
        from pets.training.measures import monitor_of  # imports torch

        items = [Target.model_validate(i) if isinstance(i, dict) else i for i in chosen]
        config = TrainConfig.model_construct(metrics=items, monitor=name, callbacks={})
        return monitor_of(config)

    def _next(
        self, study: optuna.Study, searched: dict[str, BaseDistribution]
    ) -> list[optuna.trial.FrozenTrial]:
        """Return trials that were stopped before their result, or else new ones."""

        def waiting() -> list[optuna.trial.FrozenTrial]:
            return [trial for trial in study.trials if not trial.state.is_finished()]

        if not waiting():
            for _ in range(min(self.n_jobs, self.n_trials - len(study.trials))):
                study.ask(searched)
        return waiting()[: self.n_jobs]


def _target(name: str, node: Any) -> Target:
    """The sampler or pruner of the config. Raises ConfigError if it is none, before any job."""
    try:
        target = Target.model_validate({str(key): value for key, value in node.items()})
    except (AttributeError, ValidationError) as error:
        raise ConfigError(
            f"hydra.sweeper.{name}={node}: expected _target_: with one of optuna.{name}s"
        ) from error
    check_signature(f"hydra.sweeper.{name}", target)
    return target


def _default(target: Target, argument: str) -> Any:
    parameter = inspect.signature(get_object(target.target)).parameters.get(argument)
    return parameter.default if parameter else None


def distribution(override: Override) -> BaseDistribution:
    """Return the distribution of a Hydra sweep override. Raises ConfigError if unsupported."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, ChoiceSweep):
        choices: Any = override.sweep_iterator(transformer=Transformer.encode)
        return CategoricalDistribution(list(choices))
    options: dict[str, Any]
    if isinstance(value, IntervalSweep):
        low, high, options = value.start, value.end, {"log": "log" in value.tags}
    elif isinstance(value, RangeSweep) and not value.shuffle:
        low, options = value.start, {"step": value.step}
        high = list(override.sweep_iterator())[-1]  # type: ignore[assignment]
    else:
        raise ConfigError(
            f"{override.input_line}: cannot be searched; expected interval(a,b), choice(a,b) or "
            "range(a,b)"
        )
    whole = all(isinstance(number, int) for number in (low, high, options.get("step", 1)))
    kind: Any = IntDistribution if whole else FloatDistribution
    return kind(low, high, **options)
