"""Optuna as Hydra sweeper: it chooses the next runs by the results of those before."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from pets.config import Target
from pets.config.instantiate import build
from pets.errors import ConfigError
from pets.io.serialize import to_yaml
from pets.system.installation import install

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Hydra sweeper that minimizes the validation error with Optuna's ask-and-tell interface.

    A trial is a run; the study is stored in the sweep's folder, so that `sweep.resume` continues
    it. (hydra-optuna-sweeper needs Optuna 2, and stops at a failed trial.)

    Args:
        n_trials: Runs in all, those before a resume included.
        n_jobs: Runs chosen at a time.
        sampler: `_target_` and arguments of one of Optuna's samplers.
        params: The search space, as a command line adds to it: `key: interval(1e-4,1e-2)`, also
            `tag(log,interval(a,b))`, `choice(a,b)`, `a,b` and `range(1,8)`.
    """

    def __init__(
        self, n_trials: int, n_jobs: int, sampler: Any, params: Mapping[str, Any] | None
    ) -> None:
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
        """Ask for trials, run them, and tell their results, until there are enough."""
        params = [f"{key}={value}" for key, value in self.params.items()]
        parsed = self.parser.parse_overrides([*params, *arguments])
        last = {o.get_key_element(): o for o in parsed}  # what is typed later wins
        searched = {key: distribution(o) for key, o in last.items() if o.is_sweep_override()}
        if not searched:
            raise ConfigError(
                "hydra/sweeper=optuna: nothing to search; give a key as "
                "key='interval(1e-4,1e-2)' or key=a,b,c"
            )
        fixed = [str(o.input_line) for o in last.values() if not o.is_sweep_override()]
        study = self._study()
        self._check_space(study, searched)
        while trials := self._next(study, searched):
            jobs = [
                [*fixed, *(f"{key}={trial.params[key]}" for key in searched)] for trial in trials
            ]
            returned = self.launch(jobs, initial_job_idx=trials[0].number)
            for trial, job in zip(trials, returned, strict=True):
                tell(study, trial.number, float(job.return_value))
        self._report(study)

    def _study(self) -> optuna.Study:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError(
                f"hydra/sweeper=optuna: optuna is not installed; {install('optuna')}"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            storage=f"sqlite:///{self.folder / 'optuna.sqlite'}",
            study_name="sweep",
            direction="minimize",
            load_if_exists=True,
        )
        # With the same seed a resumed study would repeat its first trials.
        seed = self.sampler.get("seed")
        shifted = {} if seed is None else {"seed": seed + len(study.trials)}
        sampler = {str(key): value for key, value in self.sampler.items()}
        study.sampler = build("hydra.sweeper.sampler", Target.model_validate(sampler | shifted))
        return study

    def _check_space(self, study: optuna.Study, searched: Mapping[str, BaseDistribution]) -> None:
        """Raise ConfigError where a study is resumed with other keys than it was started with."""
        keys = sorted(searched)
        before = study.user_attrs.get("searched", keys)
        if before != keys:
            raise ConfigError(
                f"sweep.resume={self.folder}: was searched over {', '.join(before)}, not over "
                f"{', '.join(keys)}; expected the same keys, or a new sweep"
            )
        study.set_user_attr("searched", keys)

    def _next(
        self, study: optuna.Study, searched: Mapping[str, BaseDistribution]
    ) -> Sequence[optuna.trial.FrozenTrial]:
        """Trials that were stopped before their result, else new ones."""
        from optuna.trial import TrialState

        states = [trial.state for trial in study.trials]
        left = self.n_trials - sum(state.is_finished() for state in states)
        open_trials = study.get_trials(states=(TrialState.RUNNING,))
        if not open_trials:
            for _ in range(min(left, self.n_jobs)):
                study.ask(dict(searched))
            open_trials = study.get_trials(states=(TrialState.RUNNING,))
        return open_trials[: self.n_jobs]

    def _report(self, study: optuna.Study) -> None:
        from optuna.trial import TrialState

        if not study.get_trials(states=(TrialState.COMPLETE,)):
            log.warning("no trial came to a validation error, by which to choose")
            return
        best = study.best_trial
        log.info("best of %s: error %.1f %%", len(study.trials), 100 * study.best_value)
        log.info("hydra.sweeper.n_trials=<more> with sweep.resume=%s searches on", self.folder)
        for key, value in best.params.items():
            log.info("  %s=%s", key, value)
        best_found = {"best_value": best.value, "best_params": dict(best.params)}
        (self.folder / "optimization_results.yaml").write_text(
            to_yaml(best_found), encoding="utf-8"
        )


def tell(study: optuna.Study, number: int, error: float) -> None:
    """Tell the study a trial's validation error; NaN marks the trial as failed."""
    from optuna.trial import TrialState

    if math.isnan(error):
        study.tell(number, state=TrialState.FAIL)
    else:
        study.tell(number, error)


def distribution(override: Override) -> BaseDistribution:
    """The distribution of an override in Hydra's sweep syntax. Raises ConfigError for others."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value = override.value()
    if isinstance(value, ChoiceSweep):
        choices: Any = override.sweep_iterator(transformer=Transformer.encode)
        return CategoricalDistribution(list(choices))
    by_whole: dict[bool, Any] = {True: IntDistribution, False: FloatDistribution}
    if isinstance(value, IntervalSweep):
        ends = value.start, value.end
        kind = by_whole[all(isinstance(end, int) for end in ends)]
        return kind(*ends, log="log" in value.tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        assert value.start is not None
        assert value.stop is not None
        numbers: list[Any] = list(override.sweep_iterator())
        kind = by_whole[all(isinstance(number, int) for number in (value.start, value.step))]
        return kind(value.start, numbers[-1], step=value.step)
    raise ConfigError(
        f"{override.input_line}: cannot be searched; expected interval(a,b), choice(a,b) or "
        "range(a,b)"
    )
