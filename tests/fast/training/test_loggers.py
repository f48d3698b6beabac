"""Loggers are chosen in any number, checked before photos are read, and stay in the run."""

from __future__ import annotations

import csv
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from pets.errors import ConfigError, RunError
from pets.models.classifier import new_backbone
from pets.training.hparams import hyperparameters
from pets.training.loggers import build_loggers, check_loggers, log_picture, open_loggers
from pets.training.module import new_model
from pets.trust import inside, refusal, sends
from tests.conftest import train_config


@pytest.fixture(autouse=True)
def nobodys_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ([], ["tensorboard"]),
        (["logger=csv"], ["csv"]),
        (["logger=[tensorboard,csv,wandb,mlflow]"], ["tensorboard", "csv", "wandb", "mlflow"]),
        (["logger=[wandb,csv]", "~logger.csv"], ["wandb"]),
        (["logger=none"], []),
        (["logger=[]"], []),
    ],
)
def test_loggers_are_chosen_by_name_and_together(typed: list[str], names: list[str]) -> None:
    assert list(train_config(*typed).logger) == names


def test_each_is_built_and_writes_below_the_run(tmp_path: Path) -> None:
    config = train_config("logger=[tensorboard,csv,wandb,mlflow]")
    check_loggers(config.logger)
    tensorboard, table, wandb, mlflow = build_loggers(config.logger, tmp_path)
    assert tensorboard.log_dir == f"{tmp_path}/tensorboard/"
    assert table.log_dir == f"{tmp_path}/csv/"
    assert (wandb.save_dir, wandb.name) == (str(tmp_path), "pets")
    assert mlflow.save_dir == str(tmp_path / "mlflow")


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("+logger.wandb.log_model=true", "logger.wandb.log_model=True: has no effect"),
        ("+logger.wandb.id=mine", "logger.wandb.id: is set by pets itself; remove it"),
        ("+logger.mlflow.run_id=mine", "logger.mlflow.run_id: is set by pets itself; remove it"),
        ("+logger.csv.save_dir=x", "logger.csv.save_dir: is set by pets itself; remove it"),
        ("logger.mlflow.tracking_uri=gopher:x", "logger.mlflow: pytorch_lightning.loggers.MLFlow"),
        ("logger.csv._target_=pytorch_lightning.loggers.CsvLogger", "logger.csv._target_="),
    ],
)
def test_what_a_logger_does_not_take_is_one_line(typed: str, line: str) -> None:
    config = train_config("logger=[csv,wandb,mlflow]", typed)
    with pytest.raises(ConfigError) as raised:
        check_loggers(config.logger)
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("store", ["mine", "file:mine", "sqlite:///mine.sqlite"])
def test_a_check_leaves_no_store(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_loggers(train_config("logger=mlflow", f"logger.mlflow.tracking_uri={store}").logger)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(ConfigError) as raised:
        check_loggers(train_config(f"logger={name}").logger)
    assert str(raised.value).startswith(f"logger.{name}: needs the package {name}: ")
    assert '[loggers]"; logger=tensorboard trains without it' in str(raised.value)


def test_the_table_of_an_interrupted_run_continues_after_its_last_checkpoint(
    tmp_path: Path,
) -> None:
    nodes = train_config("logger=csv").logger
    with open_loggers(nodes, tmp_path, steps_done=0) as (logger,):
        for step in range(5):
            logger.log_metrics({"loss": 0.1 * step}, step)
    with open_loggers(nodes, tmp_path, steps_done=3) as (logger,):
        logger.log_metrics({"loss": 9.0, "new": 1.0}, 3)
    with (tmp_path / "csv/metrics.csv").open() as stream:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
    before = [{"step": float(step), "loss": 0.1 * step} for step in range(3)]
    assert rows == [*before, {"step": 3.0, "loss": 9.0, "new": 1.0}]
    (tmp_path / "csv/metrics.csv").write_text("step,loss\n1,x\n")
    with pytest.raises(RunError, match=r"metrics\.csv: damaged, cannot be continued"):
        build_loggers(nodes, tmp_path, steps_done=3)


class Shows(CSVLogger):
    """A user's logger that shows pictures as Lightning's one for W&B does."""

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        self.shown = key, [image.shape for image in images], step


def test_a_picture_goes_to_each_logger_that_shows_pictures(tmp_path: Path) -> None:
    shows, plain = Shows(tmp_path), CSVLogger(tmp_path / "plain")
    board = TensorBoardLogger(tmp_path, name="tb", version="")
    loggers: list[Logger] = [plain, shows, board]
    log_picture(loggers, "lr_finder/head", np.zeros((4, 6, 3), np.uint8), 7)
    assert shows.shown == ("lr_finder/head", [(4, 6, 3)], 7)
    assert len(list((tmp_path / "tb").glob("events*"))) == 1
    assert not (tmp_path / "plain").exists()


def test_pictures_of_a_moved_mlflow_run_are_not_written_where_it_was(tmp_path: Path) -> None:
    nodes = train_config("logger=mlflow").logger
    with open_loggers(nodes, tmp_path / "before", steps_done=0):
        pass
    (tmp_path / "before").rename(tmp_path / "after")
    picture = np.zeros((4, 6, 3), np.uint8)
    with open_loggers(nodes, tmp_path / "after", steps_done=0) as (logger,):
        log_picture([logger], "x", picture, 0)
        logger.log_metrics({"loss": 1.0}, 3)
        (point,) = logger.experiment.get_metric_history(logger.run_id, "loss")
    assert (point.step, point.value) == (3, 1.0)
    assert not (tmp_path / "before").exists()
    assert not list((tmp_path / "after").rglob("*.png"))


def test_a_run_from_elsewhere_sends_nothing() -> None:
    typed = "data=folder", "data.root=x", "logger=[csv,wandb,mlflow]", "logger.wandb.tags=[a,b]"
    values = train_config(*typed).model_dump(by_alias=True, mode="json")
    assert sends(values) == ["wandb"]
    assert list(inside(values)["logger"]) == ["csv", "mlflow"]
    assert refusal(values) is None
    values["logger"]["wandb"]["offline"] = True
    values["logger"]["mlflow"]["tracking_uri"] = "databricks"
    assert sends(values) == ["mlflow"]
    values["logger"]["wandb"]["tags"] = ["../x"]
    assert refusal(values) == "logger.wandb.tags=['../x']: may lead out of the run's folder"


def chosen(*typed: str) -> dict[str, Any]:
    network = ("model=timm", "model.name=resnet10t", "model.weights=none")
    config = train_config(*network, *[word for word in typed if not word.startswith("hydra")])
    backbone, preprocess, _ = new_backbone(config.model, 0)
    model = new_model(config, backbone, preprocess, ["a", "b"])
    return hyperparameters(config, model, [*network, *typed, "trainer.benchmark=false"])


def test_hyperparameters_begin_with_what_was_typed() -> None:
    found = chosen("seed=7", "plan.stages.head.lr=1e-2", "data.root=x", "hydra.launcher.jobs=2")
    typed = {"model": "timm", "model.name": "resnet10t", "model.weights": "none", "seed": 7}
    typed |= {"plan.stages.head.lr": 0.01, "trainer.benchmark": False}
    assert list(found.items())[:6] == list(typed.items())
    assert not [key for key in found if key.startswith(("data.root", "hydra"))]
    assert found["precompute"] is False
    assert found["augment"] == "crop+flip+lighting"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("plan=frozen4", "augment=mixup", "precompute.enabled=true"), "none"),
        (
            ("plan=frozen4", "augment=mixup", "precompute.enabled=true", "precompute.views=2"),
            "crop+flip+lighting",
        ),
        (("plan=lesson1", "augment=mixup", "precompute.enabled=true"), "crop+flip+lighting+mixup"),
        (("plan=frozen4", "augment=mixup"), "crop+flip+lighting+mixup"),
        (("plan=frozen4", "augment=none"), "none"),
    ],
)
def test_only_the_augmentation_that_took_effect_is_a_hyperparameter(
    typed: tuple[str, ...], expected: str
) -> None:
    found = chosen(*typed)
    assert found["augment"] == expected
    assert found["precompute"] is ("precompute.enabled=true" in typed)


def test_a_constant_rate_has_no_warm_up() -> None:
    found = chosen("plan=constant")
    assert found["plan.stages.head.schedule"] == "constant"
    assert not [key for key in found if key.endswith((".pct_start", ".div"))]
