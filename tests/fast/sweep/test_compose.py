"""Jobs that are composed from another job's config are those that Hydra would have composed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from pets.config.resolvers import register_resolvers
from pets.sweep.compose import Composer
from pets.system.installation import conf_dir

COMMON = ["experiment=quickstart", "plan=frozen4"]


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def composer_of(loader: ConfigLoader, sweep: DictConfig) -> Composer:
    context: Any = HydraContext
    return Composer(context(config_loader=loader, callbacks=None), sweep)


def sweep_of(loader: ConfigLoader) -> DictConfig:
    overrides = [*COMMON, "hydra.mode=MULTIRUN"]
    return loader.load_configuration("train", overrides, RunMode.MULTIRUN)


def by_hydra(loader: ConfigLoader, sweep: DictConfig, job: list[str]) -> tuple[Any, list[str]]:
    config = loader.load_sweep_config(sweep, job)
    overrides = list(config.hydra.overrides.task)
    with open_dict(config):
        config.pop("hydra")
    return OmegaConf.to_container(config, resolve=True), overrides


def test_only_other_options_and_other_keys_are_composed_by_hydra(loader: ConfigLoader) -> None:
    sweep = sweep_of(loader)
    composer = composer_of(loader, sweep)
    jobs = [
        ["seed=1", "plan.stages.head.lr=0.001", "model=resnet18"],
        ["seed=2", "plan.stages.head.lr=auto/10", "model=resnet18"],
        ["seed=2", "plan.stages.head.lr='1e-2'", "model=resnet34"],
        ["seed=4", "data.root='a=b, c'"],
        ["seed=3", "data.root=null"],
        ["seed=5", "seed=6"],
        ["seed=6", "seed=5"],
    ]
    for words in jobs:
        job = [*COMMON, *words]
        task, overrides = composer.compose(job)
        found = OmegaConf.to_container(task, resolve=True), overrides
        assert found == by_hydra(loader, sweep, job)
    assert len(composer.composed) == 5


def test_a_list_and_a_new_key_are_hydras(loader: ConfigLoader) -> None:
    sweep = sweep_of(loader)
    composer = composer_of(loader, sweep)
    for words in (["metrics=[top3]"], ["metrics=[auroc]"], ["+trainer.x=1"], ["+trainer.x=2"]):
        task, overrides = composer.compose([*COMMON, *words])
        found = OmegaConf.to_container(task, resolve=True), overrides
        assert found == by_hydra(loader, sweep, [*COMMON, *words])
    assert len(composer.composed) == 4


def test_a_config_that_refers_to_its_job_is_hydras(loader: ConfigLoader) -> None:
    sweep = sweep_of(loader)
    composer = composer_of(loader, sweep)
    roots = []
    for seed in (1, 2):
        words = [f"seed={seed}", "data.root='${hydra:overrides.task.2}'"]
        task, _ = composer.compose([*COMMON, *words])
        roots.append(task.data.root)
    assert roots == ["seed=1", "seed=2"]
