"""Optuna as a Hydra sweeper: it chooses the next runs by the results of earlier ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from omegaconf import DictConfig

from pets.config import Target
from pets.config.instantiate import build
from pets.errors import ConfigError
from pets.system.installation import install

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


class OptunaSweeper(Sweeper):
    """Hydra sweeper that minimizes the validation error with Optuna's ask-and-tell interface.

    A trial is a run; the study is stored in the sweep's folder, so that `sweep.resume` continues
    it. (hydra-optuna-sweeper needs Optuna 2, and stops at a failed trial.)

    Args:
        n_trials: Total number of runs, including those before a resume.
        n_jobs: Number of runs proposed per batch.
        sampler: `_target_` and arguments of one of Optuna's samplers.
        params: The search space, extended by the command line: `key: interval(1e-4,1e-2)`, also
            `tag(log,interval(a,b))`, `choice(a,b)`, `a,b` and `range(1,8)`.
    """

    def __init__(
        self, n_trials: int, n_jobs: int, sampler: Any, params: Mapping[str, Any] | None
    ) -> None:
        if find_spec("optuna") is None:
            raise ConfigError(f"hydra/sweeper=optuna: it is not installed; {install('optuna')}")
        for name, value in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if not isinstance(value, int) or value < 1:
                raise ConfigError(
                    f"hydra.sweeper.{name}={value}: expected a whole number of at least 1"
                )
        self.n_trials, self.n_jobs, self.sampler = n_trials, n_jobs, sampler
        self.params = dict(params or {})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        plugins = Plugins.instance()
        self.launch = plugins.instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        ).launch
        self.parser = OverridesParser.create(hydra_context.config_loader)
        self.folder = Path(str(config.hydra.sweep.dir))

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
        fixed = [
            f"{key}={override.get_value_element_as_str()}"
            for key, override in last.items()
            if not override.is_sweep_override()
        ]
        from optuna.trial import TrialState

        study = self._study(sorted(searched))
        while trials := self._next(study, searched):
            jobs = [
                [*fixed, *(f"{key}={trial.params[key]}" for key in searched)] for trial in trials
            ]
            returned = self.launch(jobs, initial_job_idx=trials[0].number)
            for trial, job in zip(trials, returned, strict=True):
                error = float(job.return_value)
                if math.isnan(error):
                    study.tell(trial.number, state=TrialState.FAIL)
                else:
                    study.tell(trial.number, error)

    def _study(self, keys: list[str]) -> optuna.Study:
        """Open or create the study in the sweep's folder. Raises ConfigError if its keys differ."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=f"sqlite:///{self.folder / 'optuna.sqlite'}",
            study_name="sweep",
            direction="minimize",
            load_if_exists=True,
        )
        before = study.user_attrs.get("searched", keys)
        if before != keys:
            raise ConfigError(
                f"sweep.resume={self.folder}: was searched over {', '.join(before)}, not over "
                f"{', '.join(keys)}; expected the same keys, or a new sweep"
            )
        study.set_user_attr("searched", keys)
        sampler = {str(key): value for key, value in self.sampler.items()}
        if sampler.get("seed") is not None:  # the same seed would repeat the study's first trials
            sampler["seed"] += len(study.trials)
        study.sampler = build("hydra.sweeper.sampler", Target.model_validate(sampler))
        return study

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
