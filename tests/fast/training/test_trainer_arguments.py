"""Every argument of Lightning's Trainer is honoured, or refused by its name before data is read."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer

from pets.data.photos import Photo, Photos
from pets.errors import ConfigError
from pets.system.devices import device_type
from pets.system.installation import conf_dir
from pets.training import trainer
from pets.training.start import check_limits
from pets.training.trainer import HONOURED, REFUSED, check_trainer
from tests.conftest import train_config

HERE: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}


def test_each_is_either_honoured_or_refused() -> None:
    """One that a newer Lightning adds fails here: try it, then put it into one of the two."""
    known = inspect.signature(Trainer).parameters
    assert set(HONOURED) | set(REFUSED) == set(known)
    assert not set(HONOURED) & set(REFUSED)


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("limit_predict_batches", 2, "every photo is predicted"),
        ("max_time", "00:01:00:00", "timeout 1h pets train"),
        ("max_epochs", 3, "plan.stages.<stage>.epochs"),
        ("max_steps", 2, "plan.stages.<stage>.epochs"),
        ("check_val_every_n_epoch", 2, "every epoch ends with one validation"),
        ("fast_dev_run", True, "debug=fast"),
        ("barebones", True, "debug=fast"),
        ("enable_checkpointing", False, "last.ckpt and best.ckpt"),
        ("default_root_dir", "x", "hydra.run.dir=<folder>"),
        ("logger", False, "logger=<name>"),
        ("nope", 1, f"expected {', '.join(HONOURED)}"),
        ("epochs", 3, "in pets: plan.stages.head.epochs=4"),
        ("devicez", 2, "did you mean devices?"),
    ],
)
def test_what_cannot_be_had_is_named_with_what_to_do(name: str, value: object, fix: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_trainer({**HERE, name: value})
    line = str(raised.value)
    assert line.startswith(f"trainer.{name}={value}: not supported, remove it; ")
    assert fix in line


def test_what_says_nothing_new_may_stay() -> None:
    defaults = inspect.signature(Trainer).parameters
    check_trainer({**HERE, **{name: defaults[name].default for name in REFUSED}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accumulate_grad_batches", 3),
        ("gradient_clip_val", 0.5),
        ("gradient_clip_algorithm", "value"),
        ("deterministic", "warn"),
        ("benchmark", True),
        ("detect_anomaly", True),
        ("inference_mode", False),
    ],
)
def test_what_can_be_had_is_taken(name: str, value: object) -> None:
    check_trainer({**HERE, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit_train_batches", 2),
        ("limit_val_batches", 0.5),
        ("limit_test_batches", 1.0),
        ("overfit_batches", 1),
        ("profiler", "simple"),
    ],
)
def test_only_training_is_limited_or_profiled(name: str, value: object) -> None:
    check_trainer({**HERE, name: value}, trains=True)
    with pytest.raises(
        ConfigError, match=rf"^trainer\.{name}={value}: is for pets train; here all"
    ):
        check_trainer({**HERE, name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("limit_train_batches", 0, "a number of batches of at least 1"),
        ("limit_val_batches", 1.5, "a number of batches of at least 1"),
        ("limit_test_batches", True, "a number of batches of at least 1"),
        ("overfit_batches", -1, "a number of batches of at least 1"),
        ("profiler", "pytorch", "simple, advanced or null"),
    ],
)
def test_a_limit_is_a_number_or_a_fraction(name: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_trainer({**HERE, name: value}, trains=True)
    assert str(raised.value).startswith(f"trainer.{name}={value}: expected {expected}")


@pytest.mark.parametrize("preset", ["cpu", "ddp", "default", "gpu", "mps", "slurm_ddp"])
def test_a_preset_trains_or_says_in_a_line_what_is_missing(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = train_config(f"trainer={preset}").trainer
    assert (conf_dir() / f"trainer/{preset}.yaml").is_file()
    accelerator = {"cpu": "cpu", "gpu": "gpu", "mps": "mps", "slurm_ddp": "gpu"}
    assert values["accelerator"] == accelerator.get(preset, "auto")
    here = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if preset in ("ddp", "slurm_ddp"):
        with pytest.raises(ConfigError, match=r"^trainer\.devices=\d.*: needs \d processes"):
            check_trainer(values, trains=True)
    elif here.get(preset, True):
        check_trainer(values, trains=True)
    else:
        with pytest.raises(ConfigError, match=f"trainer.*accelerator={preset}") as raised:
            check_trainer(values, trains=True)
        assert "\n" not in str(raised.value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert train_config("trainer=ddp").trainer["devices"] == 8


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("no torch_xla"), MisconfigurationException("no torch_xla")]
)
def test_an_accelerator_whose_package_is_missing_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(trainer, "build_trainer", fails)
    with pytest.raises(ConfigError) as raised:
        check_trainer({"accelerator": "tpu"})
    here = device_type("auto").replace("cuda", "gpu")
    assert str(raised.value) == (
        "trainer.accelerator=tpu: cannot be used here (no torch_xla); expected auto, or "
        f"trainer={here}"
    )


def test_an_overfit_run_has_no_other_limits() -> None:
    with pytest.raises(
        ConfigError, match=r"^trainer\.limit_train_batches=4: has no effect with tr"
    ):
        check_trainer(train_config("debug=[fast,overfit]", "trainer=cpu").trainer, trains=True)


def test_a_limit_of_photos_that_are_not_there_is_said(caplog: pytest.LogCaptureFixture) -> None:
    rows = tuple(Photo(f"{i}.jpg", "a", "valid" if i < 32 else "train") for i in range(192))
    config = train_config("debug=fast", "plan=constant")
    with caplog.at_level(logging.INFO):
        check_limits(config, Photos(Path("x"), rows))
    assert caplog.messages == ["trainer.limit_test_batches=2 has no effect: no test photos"]
