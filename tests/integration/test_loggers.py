"""What each logger wrote, read by its own reader; a stopped run goes on in the same one."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import wandb_file
from tests.integration.conftest import SMALL, Pets
from tests.integration.forked import Running
from tests.integration.runs import metrics_or_none, scalars, status
from tests.integration.runs import tags as tensorboard_tags

ALL = (
    *SMALL,
    "logger=[tensorboard,csv,wandb,mlflow]",
    "logger.wandb.offline=true",
)
STEPS = 15  # 60 photos in batches of 16, without the last 12: 3 a epoch, 5 epochs


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder in which nothing may appear, and no account of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("MPLCONFIGDIR", str(home / "matplotlib"))
        yield home


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    """A run that nothing stopped, with pictures of the finder."""
    pets = Pets(tmp_path_factory.mktemp("logged"))
    pets("train", f"data.root={drawn}", *ALL, "lr_curves=true", "lr_finder.steps=30")
    (run,) = pets.runs()
    return run


def rows(run: Path) -> list[dict[str, str]]:
    """The CSV logger's rows, only the cells that have something."""
    with (run / "csv/metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(stream)]


def mlflow_run(run: Path) -> Any:
    """The only run in the file store, by MLflow's search."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"file:{run}/mlflow")
    (found,) = client.search_runs([client.get_experiment_by_name("pets").experiment_id])
    return client, found


def mlflow_history(run: Path, key: str) -> list[tuple[int, float]]:
    client, found = mlflow_run(run)
    return [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, key)]


def wandb_series(run: Path, key: str) -> list[tuple[int, float]]:
    history = wandb_file.history(run)
    return [(row["trainer/global_step"], row[key]) for row in history if key in row]


def series(run: Path, key: str) -> dict[str, list[tuple[int, float]]]:
    """What each logger has under a key: steps and values."""
    return {
        "tensorboard": [(e.step, e.value) for e in scalars(run, key)],
        "csv": [(int(row["step"]), float(row[key])) for row in rows(run) if key in row],
        "wandb": wandb_series(run, key),
        "mlflow": mlflow_history(run, key),
    }


@pytest.mark.core
def test_every_logger_has_every_step_with_the_same_values(logged: Path) -> None:
    for key in ("train/loss", "lr/head", "valid/error_rate"):
        found = series(logged, key)
        expected = found.pop("csv")
        for name, other in found.items():
            assert [step for step, _ in other] == [step for step, _ in expected], name
            assert [v for _, v in other] == pytest.approx([v for _, v in expected], rel=1e-6), name
    assert [step for step, _ in series(logged, "train/loss")["wandb"]] == list(range(STEPS))
    errors = [float(row["error_rate"]) for row in csv.DictReader((logged / "metrics.csv").open())]
    assert [value for _, value in series(logged, "valid/error_rate")["mlflow"]] == errors


def test_results_and_hyperparameters_are_in_each(logged: Path) -> None:
    error = status(logged)["results"]["test"]["error_rate"]
    _, found = mlflow_run(logged)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == logged.name
    assert found.data.metrics["hparams/test_error_rate"] == error
    assert wandb_series(logged, "hparams/test_error_rate") == [(STEPS, error)]
    assert float(rows(logged)[-1]["hparams/test_error_rate"]) == error
    assert "hparams/test_error_rate" in tensorboard_tags(logged)
    config = wandb_file.config(logged)
    assert config["data.size"] == 96
    assert config["plan.stages.body.lr"] == "[1e-06, 0.0001]"
    assert config["precompute"] is False
    assert found.data.params["data.size"] == "96"
    assert "data.size: 96" in (logged / "csv/hparams.yaml").read_text()


def test_pictures_are_in_each_logger_that_shows_them(logged: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    names = {"lr_finder/head", "lr_finder/body"}
    assert set(EventAccumulator(str(logged / "tensorboard")).Reload().Tags()["images"]) == names
    client, found = mlflow_run(logged)
    kept = client.list_artifacts(found.info.run_id, "lr_finder")
    assert {Path(file.path).with_suffix("").as_posix() for file in kept} == names
    history = wandb_file.history(logged)
    shown = [path for row in history for n in names for path in row.get(f"{n}.filenames", ())]
    assert len(shown) == 2
    (folder,) = logged.glob("wandb/offline-run-*")
    assert all((folder / "files" / path).stat().st_size > 1000 for path in shown)


def test_nothing_is_outside_of_the_run_and_no_process_is_left(logged: Path, home: Path) -> None:
    assert not [path for path in home.rglob("*") if "matplotlib" not in path.parts]
    assert {path.name for path in logged.parents[1].iterdir()} == {"outputs"}
    assert not [path for path in logged.rglob("*") if path.is_symlink()]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            assert (process / "cwd").readlink() != logged.parents[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_resumed_run_goes_on_in_the_same_run_of_each(
    number: signal.Signals, logged: Path, pets: Pets, drawn: Path
) -> None:
    running = Running(["train", f"data.root={drawn}", *ALL], pets.folder)
    while not (pets.runs() and len(metrics_or_none(pets.runs()[0])) >= 3):
        assert running.process.is_alive(), running.end().stderr
        time.sleep(0.05)
    os.kill(running.pid, number)
    running.end()
    (run,) = pets.runs()
    ids = json.loads((run / "loggers.json").read_text())
    assert mlflow_run(run)[1].info.run_id == ids["mlflow"]
    pets("train", f"resume={run}")
    assert json.loads((run / "loggers.json").read_text()) == ids
    # Two files, one run: `wandb sync` joins them by their id.
    assert len(list(run.glob(f"wandb/offline-run-*/run-{ids['wandb']}.wandb"))) == 2
    assert mlflow_run(run)[1].info.status == "FINISHED"
    for key in ("train/loss", "lr/head", "valid/error_rate"):
        found, expected = series(run, key), series(logged, key)["csv"]
        for name in ("tensorboard", "csv"):
            assert found[name] == series(logged, key)[name], (name, key)
        # What was logged after the last checkpoint of a killed run, W&B and MLflow have twice.
        assert sorted(set(found["mlflow"])) == expected, key
        assert set(found["wandb"]) <= set(expected), key
        if number == signal.SIGTERM:
            assert found["mlflow"] == found["wandb"] == expected, key
        assert found["wandb"][-1] == expected[-1]


def test_a_host_or_login_that_is_missing_is_one_line_before_photos_are_read(pets: Pets) -> None:
    args = ("train", "data=folder", "data.root=nowhere", *SMALL)
    assert pets.one_line(*args, "logger=wandb") == (
        "logger.wandb: there is no login for Weights & Biases; expected one by wandb login or "
        "WANDB_API_KEY; or logger.wandb.offline=true"
    )
    nobody = {"WANDB_BASE_URL": "http://127.0.0.1:1", "WANDB_API_KEY": "a" * 40}
    result = pets(*args, "logger=wandb", code=1, env=nobody)
    assert result.stderr.startswith("logger.wandb: cannot log there (Failed to authenticate")
    assert "; logger.wandb.offline=true, or logger=tensorboard trains without" in result.stderr
    line = pets(*args, "logger=mlflow", "logger.mlflow.tracking_uri=http://127.0.0.1:1", code=1)
    assert "logger.mlflow: cannot log there (API request to http://127.0.0.1:1/" in line.stderr
    assert not pets.runs()
