"""Optuna's trials learn from those before, and hopeless ones are stopped; without training."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus

from pets.errors import ConfigError
from pets.sweep.optuna import OptunaSweeper
from pets.sweep.slurm import SlurmLauncher
from pets.system.installation import conf_dir
from tests.conftest import composed, train_config

optuna = pytest.importorskip("optuna")
EPOCHS = 4


def node(name: str) -> dict[str, Any]:
    return yaml.safe_load((conf_dir() / f"hydra/sweeper/{name}.yaml").read_text(encoding="utf-8"))


class Trainer:
    """A launcher whose runs have an error that depends on the rate alone: lowest at 1e-3.

    They report the error, or what is left to one if the highest is `best`.
    """

    prune: Any = None

    def __init__(self, folder: Path, best: str) -> None:
        self.folder, self.known, self.launched = folder, list[int](), 0
        self.score = (lambda error: 1 - error) if best == "highest" else float

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        trials = study(self.folder).trials
        self.known.append(sum(trial.state.is_finished() for trial in trials))
        self.launched += len(jobs)
        return [self._train(index, overrides) for index, overrides in enumerate(jobs)]

    def _train(self, index: int, overrides: Sequence[str]) -> JobReturn:
        rate = float(next(o for o in overrides if o.startswith("lr=")).partition("=")[2])
        error = (math.log10(rate) + 3) ** 2 / 10
        result = JobReturn(status=JobStatus.COMPLETED)
        result.return_value = self.score(error)
        state = "finished"
        for epoch in range(1, EPOCHS):
            errors = [error + 0.1 * (EPOCHS - done) for done in range(1, epoch + 1)]
            if self.prune and self.prune(index, [*map(self.score, errors)], EPOCHS):
                state, result.return_value = "pruned", math.nan
                break
        run = self.folder / f"{rate}"
        run.mkdir(exist_ok=True)
        (run / "status.json").write_text(json.dumps({"state": state}))
        result.working_dir = str(run)
        return result


def study(folder: Path) -> Any:
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder / 'optuna.sqlite'}")


def search(
    folder: Path, trials: int, pruner: Any = "none", best: str = "lowest", **changes: Any
) -> Trainer:
    keys = {key: value for key, value in node("optuna").items() if key[0] not in "_d"}
    keys |= {"n_trials": trials, "pruner": pruner, **changes}
    if pruner in ("none", "median", "halving", "hyperband"):
        keys["pruner"] = node(f"pruner/{pruner}")
    sweeper = OptunaSweeper(**keys)
    sweeper.launcher = launcher = Trainer(folder, best)
    sweeper.composed = composed("monitor=valid/accuracy" if best == "highest" else "seed=42")
    sweeper.parser, sweeper.folder = OverridesParser.create(), folder
    sweeper.sweep(["lr=tag(log,interval(1e-6,1))"])
    return launcher


def distances(folder: Path) -> list[float]:
    return [abs(math.log10(trial.params["lr"]) + 3) for trial in study(folder).trials]


def test_trials_learn_from_all_results_before_their_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        launcher = search(tmp_path, 30)
    assert launcher.known == list(range(0, 30, 2))  # two at a time, after the results of all others
    far = distances(tmp_path)
    assert sum(far[20:]) < 0.75 * sum(far[:10])
    assert "30 trials; the first 10 are random, the others learn from the results before " in (
        caplog.text
    )
    # A sampler that learns nothing: the same beginning, no better end.
    other = tmp_path / "random"
    other.mkdir()
    search(other, 30, sampler={"_target_": "optuna.samplers.RandomSampler", "seed": 42})
    assert sum(distances(other)[20:]) > sum(far[20:])


def test_few_trials_are_said_to_be_all_random(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        search(tmp_path, 4)
        search(tmp_path, 6)
        search(tmp_path, 6)
    assert "4 trials, all random: TPESampler would learn from the results of 10 on" in caplog.text
    assert "6 trials, 4 of them begun before, all random: " in caplog.text
    assert "all 6 trials are done; for more: hydra.sweeper.n_trials=<total number>" in caplog.text


@pytest.mark.parametrize("best", ["lowest", "highest"])
@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_hopeless_trials_are_pruned_and_not_run_again(
    tmp_path: Path, pruner: str, best: str
) -> None:
    search(tmp_path, 20, pruner, best)
    trials = study(tmp_path).trials
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert 3 <= len(pruned) <= 15
    assert all(0 < len(trial.intermediate_values) < EPOCHS for trial in pruned)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(pruned) + len(complete) == 20
    assert min(trials, key=lambda t: abs(math.log10(t.params["lr"]) + 3)) in complete
    assert study(tmp_path).best_trial.value == max(
        (trial.value for trial in complete),
        key=lambda value: value if best == "highest" else -value,
    )
    if pruner == "median":
        assert not {trial.number for trial in pruned} & set(range(5))
        assert min(len(trial.intermediate_values) for trial in pruned) == 2
    # Sweeps that go on count them.
    assert search(tmp_path, 22, pruner, best).launched == 2


def test_nothing_is_pruned_by_default(tmp_path: Path) -> None:
    assert node("optuna")["defaults"][0] == {"pruner": "none"}
    assert search(tmp_path, 6).prune is None
    assert {trial.state.name for trial in study(tmp_path).trials} == {"COMPLETE"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"pruner": "best"}, "hydra.sweeper.pruner=best: expected _target_: with one of optuna.p"),
        ({"pruner": {"_target_": "optuna.pruners.Nop"}}, "hydra.sweeper.pruner._target_=optuna.p"),
        (
            {"pruner": {**node("pruner/median"), "warmup": 3}},
            "hydra.sweeper.pruner.warmup: MedianPruner takes no such argument; ",
        ),
        (
            {"pruner": {**node("pruner/halving"), "reduction_factor": 1}},
            "hydra.sweeper.pruner: optuna.pruners.SuccessiveHalvingPruner refuses its arguments ",
        ),
        ({"sampler": {"seed": 3}}, "hydra.sweeper.sampler={'seed': 3}: expected _target_: with o"),
    ],
)
def test_a_bad_pruner_or_sampler_is_one_line(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        search(tmp_path, 4, **changes)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_slurm_refuses_to_prune() -> None:
    launcher = SlurmLauncher(**{k: v for k, v in slurm().items() if k != "_target_"})
    launcher.check([train_config("trainer.accelerator=cpu")])
    launcher.prune = lambda *_: True
    with pytest.raises(ConfigError, match=r"^hydra/sweeper/pruner: jobs in Slurm are not watched"):
        launcher.check([train_config("trainer.accelerator=cpu")])


def slurm() -> dict[str, Any]:
    return yaml.safe_load((conf_dir() / "hydra/launcher/slurm.yaml").read_text(encoding="utf-8"))
