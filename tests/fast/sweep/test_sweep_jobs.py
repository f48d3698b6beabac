"""Jobs of a sweep: their identity, names, slots and exit codes, and Optuna's search space."""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from pets.errors import ConfigError, PetsError, RunError
from pets.sweep.jobs import check_swept, identity, prepare, runs_of
from pets.sweep.local import divide
from pets.sweep.optuna import OptunaSweeper, distribution
from pets.sweep.overrides import FILE, save_overrides, saved_overrides, with_saved_overrides
from pets.sweep.processes import wait_for_ranks
from pets.sweep.worker import check_config
from tests.conftest import composed, need, train_config


def test_paths_and_devices_do_not_change_a_runs_identity() -> None:
    same = identity(train_config())
    for word in ("data.root=x", "cache_dir=x", "data.num_workers=1", "trainer.accelerator=cpu"):
        assert identity(train_config(word)) == same, word
    others = [
        identity(train_config(word))
        for word in ("seed=1", "data.batch_size=8", "trainer.devices=2", "callbacks=ema",
                     "plan.stages.head.lr=1e-4", "data.split_seed=1")
    ]  # fmt: skip
    assert len({same, *others}) == 7


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("data=folder", "data.root=gone"), "data.root=gone: no such folder"),
        (("data=oxford_pets", "data.root=there", "data.split=official"),
         "data.split=official: no there/annotations/trainval.txt; use data.split=random, with"),
        (("data=folder", "data.root=there", "model.weights=nowhere"),
         "model.weights=nowhere: no such file; expected default, package, none, a file of weig"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_once_before_the_first_run(
    overrides: tuple[str, ...], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    values = train_config(*overrides).model_dump(by_alias=True, mode="json")
    with pytest.raises(PetsError) as error:
        check_config(values)
    assert str(error.value).startswith(line)


def test_what_is_made_or_downloaded_need_not_be_there(tmp_path: Path) -> None:
    for data in ("demo", "oxford_pets"):
        config = train_config(f"data={data}", f"data.root={tmp_path / data}")
        assert config.data.prepare is not None
        check_config(config.model_dump(by_alias=True, mode="json"))


def prepared(folder: Path, *jobs: str) -> list[str]:
    made = prepare(folder, [(train_config(w), [w]) for w in jobs], [[w] for w in jobs])
    return [job.name for job in made]


def test_run_names_and_numbers(tmp_path: Path) -> None:
    assert prepared(tmp_path, "seed=0", "plan.stages.head.lr=1e-3") == ["0_seed0", "1_lr1e-3"]
    # Existing runs are reused, whatever their state; new ones continue the numbering.
    (tmp_path / "notes").mkdir()
    names = prepared(tmp_path, "seed=1", "seed=0", "model=resnet34", "compile=true", "seed=1")
    assert names == ["2_seed1", "0_seed0", "3_resnet34", "4_compiletrue", "2_seed1"]
    assert prepared(tmp_path, "plan.stages.body.lr=[1e-6,1e-4]") == ["5_lr-1e-6-1e-4"]
    runs = runs_of(tmp_path)
    assert [run.path.name[0] for run in runs] == list("012345")
    many = prepared(tmp_path / "many", *(f"seed={n}" for n in range(11)))
    assert (many[0], many[10]) == ("00_seed0", "10_seed10")


def test_keys_that_do_not_change_a_run_cannot_be_swept() -> None:
    check_swept([["data.root=a", "seed=0"], ["data.root=a", "seed=1"]])
    with pytest.raises(ConfigError, match=r"^data\.root=a,b: is a path or a device"):
        check_swept([["data.root=a", "seed=0"], ["data.root=b", "seed=1"]])


@pytest.mark.parametrize(
    ("jobs", "devices", "wanted", "cores", "gpus", "result"),
    [
        (9, 1, "auto", 2, "", [None] * 2),
        (9, 1, "auto", 16, "", [None] * 8),
        (9, 1, "auto", 1, "", [None]),
        (9, 2, "auto", 2, "", [None]),
        (1, 1, "auto", 16, "", [None]),
        (9, 1, 3, 2, "", [None] * 3),
        (9, 1, "auto", 16, "0123", ["0", "1", "2", "3"]),
        (2, 1, "auto", 16, "0123", ["0", "1"]),
        (9, 2, "auto", 16, "57913", ["5,7", "9,1"]),
        (9, 2, 1, 16, "0123", ["0,1"]),
        (9, 1, 4, 16, "01", ["0", "1", "0", "1"]),
    ],
)
def test_jobs_are_assigned_cores_and_gpus(
    jobs: int, devices: int, wanted: Any, cores: int, gpus: str, result: Sequence[str | None]
) -> None:
    made = divide(jobs, devices, wanted, cores, list(gpus))
    assert [slot.get("CUDA_VISIBLE_DEVICES") for slot in made] == result


END, KILL, HANG = (os._exit, 1), (signal.raise_signal, signal.SIGKILL), (time.sleep, 60)


@pytest.mark.parametrize(
    ("ranks", "exitcode"),
    [
        ([(os._exit, 0), (os._exit, 0)], 0),
        ([(os._exit, 0), END], 1),
        ([END, HANG], 1),
        ([HANG, KILL], -signal.SIGKILL),
    ],
)
def test_the_exit_code_of_a_job_is_that_of_the_rank_that_failed(
    ranks: Sequence[tuple[Any, int]], exitcode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pets.sweep.processes._PATIENCE", 0.1)
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=target, args=(arg,)) for target, arg in ranks]
    for process in processes:
        process.start()
    assert wait_for_ranks(processes) == exitcode


def test_a_job_with_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.devices=4: this machine has 2 GPUs"):
        divide(9, 4, "auto", 16, ["0", "1"])


def test_what_optuna_searches() -> None:
    need(pytest.importorskip("optuna") is not None, "optuna is not installed")
    result = {
        text: distribution(OverridesParser.create().parse_override(f"key={text}"))
        for text in (
            "interval(0.1,2)", "int(interval(1,8))", "tag(log,interval(1e-4,1e-2))", "a,2,null",
            "choice(x,y)", "range(1,8,step=2)", "range(0,1,step=0.25)",
        )
    }  # fmt: skip
    shown = {text: str(value) for text, value in result.items()}
    assert shown == {
        "interval(0.1,2)": "FloatDistribution(high=2.0, log=False, low=0.1, step=None)",
        "int(interval(1,8))": "IntDistribution(high=8, log=False, low=1, step=1)",
        "tag(log,interval(1e-4,1e-2))": (
            "FloatDistribution(high=0.01, log=True, low=0.0001, step=None)"
        ),
        "a,2,null": "CategoricalDistribution(choices=('a', 2, 'null'))",
        "choice(x,y)": "CategoricalDistribution(choices=('x', 'y'))",
        "range(1,8,step=2)": "IntDistribution(high=7, log=False, low=1, step=2)",
        "range(0,1,step=0.25)": "FloatDistribution(high=0.75, log=False, low=0.0, step=0.25)",
    }
    with pytest.raises(ConfigError, match="cannot be searched; expected interval"):
        distribution(OverridesParser.create().parse_override("key=shuffle(range(1,4))"))


def test_a_resumed_sweep_means_the_words_it_began_with(tmp_path: Path) -> None:
    resume = f"sweep.resume={tmp_path}"
    assert with_saved_overrides(["-m", resume, "seed=3"]) == ["-m", resume, "seed=3"]
    began = ["data=folder", "+callbacks.x=1", "seed=0,1", "hydra/launcher=slurm", "sweep.resume=y"]
    save_overrides(tmp_path, [*began, "hydra.launcher.jobs=2"])
    assert saved_overrides(tmp_path) == ["data=folder", "+callbacks.x=1", "seed=0,1"]
    # Alone it is about what is unfinished; where the runs go is no change.
    for where in ([], ["hydra/launcher=local"], ["--config-dir", "mine", "--config-dir=mine"]):
        assert with_saved_overrides(["-m", *where, resume]) == ["-m", *where, resume]
    result = with_saved_overrides(["-m", "seed=3", resume])
    assert result == ["-m", "seed=3", "data=folder", "+callbacks.x=1", resume]
    save_overrides(tmp_path, ["hydra/sweeper=optuna", "seed=0,1"])
    assert with_saved_overrides([resume]) == ["hydra/sweeper=optuna", "seed=0,1", resume]
    (tmp_path / FILE).write_text(yaml.safe_dump(["no words"]))
    with pytest.raises(RunError, match=r"sweep\.yaml: is not a file of a sweep"):
        saved_overrides(tmp_path)


@pytest.mark.parametrize(
    "text", ["other: []", "[a=1]", "overrides: seed=0", "overrides: [{a: 1}]", ""]
)
def test_a_sweep_file_with_other_keys_is_named_with_what_is_expected(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RunError) as raised:
        saved_overrides(tmp_path)
    expected = "is not a file of a sweep; expected overrides: with a list of <key>=<value>"
    assert str(raised.value).startswith(f"{tmp_path / FILE}: {expected}")


def test_optuna_searches_for_the_best_by_the_monitor(tmp_path: Path) -> None:
    pytest.importorskip("optuna")

    def study(*overrides: str) -> tuple[str, str]:
        sampler, pruner = "optuna.samplers.RandomSampler", "optuna.pruners.NopPruner"
        sweeper = OptunaSweeper(1, 1, {"_target_": sampler}, {"_target_": pruner}, None)
        sweeper.folder = tmp_path / "sweep"
        sweeper.composed = composed(*overrides)
        made = sweeper._study(["lr"])
        if not made.trials:
            made.ask()
        return made.direction.name, made.user_attrs["monitor"]

    chosen = ("metrics=[macro_f1]", "monitor=valid/macro_f1")
    assert study(*chosen) == ("MAXIMIZE", "valid/macro_f1")
    assert study(*chosen) == ("MAXIMIZE", "valid/macro_f1")
    with pytest.raises(ConfigError, match="was searched by valid/macro_f1"):
        study()
    with pytest.raises(RunError, match="is not called for a run from elsewhere"):
        study("metrics=[os.system]", f"sweep.resume={tmp_path}")
