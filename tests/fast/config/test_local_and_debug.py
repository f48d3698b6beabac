"""What a machine has of its own, and the short runs: composed as a user has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pets.config import TrainConfig
from pets.errors import ConfigError
from tests.conftest import composed, train_config


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of configs."""
    monkeypatch.setenv("PETS_CONF", str(tmp_path))
    (tmp_path / "local").mkdir()
    return tmp_path


def test_a_machines_own_values_are_between_the_experiment_and_the_command_line(own: Path) -> None:
    (own / "local/default.yaml").write_text(
        "# @package _global_\ncache_dir: /big/disk\nreport: false\nseed: 3\n"
        "data: {batch_size: 7}\ntrainer: {precision: 16-mixed}\nhydra: {launcher: {jobs: 3}}\n"
    )
    config = train_config("experiment=lesson1_resnet34", "seed=5", "trainer=cpu")
    assert (config.cache_dir, config.seed, config.report) == ("/big/disk", 5, False)
    assert (config.data.batch_size, config.trainer["precision"]) == (7, "16-mixed")
    assert config.trainer["accelerator"] == "cpu"
    assert composed("debug=overfit").trainer.overfit_batches == 1


def test_options_of_an_own_folder_are_found_without_config_dir(own: Path) -> None:
    (own / "plan").mkdir()
    (own / "plan/mine.yaml").write_text(
        "defaults: [/stage@stages.only: default]\nstages: {only: {epochs: 2, lr: 1e-3}}\n"
    )
    assert list(train_config("plan=mine").plan.stages) == ["only"]


def test_without_a_local_file_nothing_is_set(own: Path) -> None:
    with_folder = train_config()
    (own / "local").rmdir()
    assert train_config() == with_folder


def test_a_folder_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETS_CONF", "/nowhere/at/all")
    with pytest.raises(ConfigError, match=r"^PETS_CONF=/nowhere/at/all: no such folder; expected"):
        train_config()


def epochs(config: TrainConfig) -> list[int]:
    return [stage.epochs for stage in config.plan.stages.values()]


def test_debug_shortens_any_plan() -> None:
    fast = train_config("plan=progressive", "debug=fast")
    assert epochs(fast) == [1, 1, 1]
    assert [fast.trainer[f"limit_{name}_batches"] for name in ("train", "val", "test")] == [4, 2, 2]
    assert epochs(train_config("experiment=lesson1_resnet50", "debug=overfit")) == [20, 20]
    assert train_config("debug=profile").trainer["profiler"] == "simple"
    assert epochs(train_config("debug=profile")) == epochs(train_config())
    assert epochs(train_config("plan.epochs=3")) == [3, 3]


@pytest.mark.parametrize("value", ["0", "two", "1.5"])
def test_epochs_of_every_stage_are_a_number(value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        train_config(f"plan.epochs={value}")
    expected = "expected a whole number of at least 1, or null for each stage's own"
    assert str(raised.value) == f"plan.epochs={value}: {expected}"
