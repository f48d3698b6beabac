"""What users of other packages type is understood, or answered by the key to use."""

from __future__ import annotations

import re

import pytest
from hydra.errors import HydraException
from pydantic import BaseModel

from pets.cli.arguments import ALIASES, to_overrides
from pets.cli.mistakes import check_flags, one_line
from pets.commands import list_commands, load_command
from pets.config import EvalConfig, PredictConfig, Target, TrainConfig
from pets.config.foreign import ANSWERS
from pets.config.validation import known_keys, suggestion, typed
from pets.errors import ConfigError, PetsError
from pets.training.trainer import HONOURED
from pets.trust import canonical, refusal
from tests.conftest import composed, train_config

SCHEMAS = {name: load_command(name).SCHEMA for name in list_commands()}


def overrides(answer: str) -> list[str]:
    """The overrides with which an answer begins; none of a sentence."""
    words = answer.split(" (")[0].removeprefix("-m ").split(" ")
    return [re.sub("<.*", "x", word) for word in words] if "=" in words[0] else []


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_given_by_a_command_that_has_the_key(answer: str) -> None:
    for key in ANSWERS[answer].split():
        commands = [n for n in SCHEMAS if suggestion(key, SCHEMAS[n]) == f"in pets: {answer}"]
        if commands:
            composed(*overrides(answer), name=commands[0])
            return
    raise AssertionError("another answer always comes before it")


@pytest.mark.parametrize("schema", SCHEMAS.values())
def test_no_key_of_a_command_is_answered_as_foreign(schema: type[BaseModel]) -> None:
    for key in known_keys(schema):
        assert not suggestion(key, schema).startswith("in pets"), key


def message(schema: type[BaseModel], command: str, key: str) -> str:
    """The one line about `key=1`."""
    try:
        typed(schema, composed(f"{key}=1", name=command))
    except (HydraException, PetsError) as error:
        line = one_line(error, command, schema)
        assert line is not None
        assert "\n" not in line
        return line
    raise AssertionError(f"{key} is a key")


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("lr", "plan.stages.head.lr=1e-3"),
        ("epochs", "plan.stages.head.epochs=4"),
        ("train.epochs", "plan.stages.head.epochs=4"),
        ("batch_size", "data.batch_size=32"),
        ("data.bs", "data.batch_size=32"),
        ("optimizer.lr", "plan.stages.head.lr=1e-3"),
        ("+optimizer.lr", ""),
        ("model.pretrained", "model.weights=none"),
        ("arch", "model=resnet50"),
        ("model.arch", "model=resnet50"),
        ("ckpt_path", "resume=outputs/<run>"),
        ("trainer.max_epochs", "plan.stages.head.epochs=4"),
        ("imgsz", "data.size=224"),
        ("data.img_size", "data.size=224"),
        ("workers", "data.num_workers=4"),
        ("device", "trainer.accelerator=gpu"),
        ("weights", "model.weights=none"),
        ("per_device_train_batch_size", "data.batch_size=32"),
        ("fp16", "trainer.precision=bf16-mixed"),
        ("plan.stages.head.learning_rate", "plan.stages.head.lr=1e-3"),
        ("fast_dev_run", "debug=fast"),
        ("trainer.fast_dev_run", "debug=fast"),
        ("report_to", "logger=wandb"),
        ("+lr", "plan.stages.head.lr=1e-3"),
    ],
)
def test_a_foreign_key_is_answered_by_the_key_to_use(key: str, answer: str) -> None:
    if not answer:  # what the optimizer would accept, but the stages' rates replace
        from pets.training.checks import check_signatures

        with pytest.raises(ConfigError, match=r"^optimizer\.lr: is set by pets .*plan\.stages\."):
            check_signatures(train_config("+optimizer.lr=0.1"))
        return
    line = message(TrainConfig, "train", key)
    assert line.startswith(key.lstrip("+"))
    assert f": no such key; in pets: {answer}" in line
    assert "; +" not in line


def test_an_answer_is_of_the_command() -> None:
    assert message(PredictConfig, "predict", "data.batch_size").endswith(" in pets: batch_size=32")
    assert message(EvalConfig, "eval", "ckpt_path").endswith(" in pets: run=outputs/<run>")
    assert "in pets" not in message(EvalConfig, "eval", "lr")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("model=vit_base_patch16_224", "model=timm model.name=vit_base_patch16_224"),
        ("debug=fdr", "Lightning's fast_dev_run is debug=fast"),
        ("data=my_photos", "data=folder data.root=<folder>"),
        ("optimizer=AdamW", "did you mean adamw?"),
    ],
)
def test_what_is_no_option_says_how_to_name_it(option: str, hint: str) -> None:
    with pytest.raises(HydraException) as caught:
        composed(option)
    assert hint in str(one_line(caught.value, "train", TrainConfig))


LORA = 'give its keys together: "model.lora={r: ..., alpha: ...}"'


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "+callbacks=ema",
            "+callbacks=ema: callbacks is chosen already; expected callbacks=ema, or several: "
            "callbacks=[ema,...]",
        ),
        ("+model=resnet18", "+model=resnet18: model is chosen already; expected model=resnet18"),
        (
            "metrics=top3,auroc",
            "metrics=top3,auroc: expected one value; or a list: metrics=[top3,auroc]; a run with "
            "each: pets train -m ...",
        ),
        (
            "model=[resnet18,resnet34]",
            "model/head: is chosen by two options of a group; expected one option",
        ),
        (
            "plan=[frozen4,lesson1]",
            "plan.stages.head: is chosen by two options of a group; expected",
        ),
        (
            "hydra/sweeper/pruner=median",
            "hydra/sweeper/pruner: no such config group; hydra/sweeper=optuna has it",
        ),
        ("model/heads=linear", "model/heads: no such key; did you mean model.head?"),
        ("model.lora.r=8", f"model.lora.r: model.lora is null; {LORA}"),
        ("model.head.eps=1", "model.head.eps: no such key; did you mean "),
        ("loss.gamma=2", "loss.gamma: no such key; loss=focal has it"),
        ("hydra.launcher.qos=x", "hydra.launcher.qos: no such key; hydra/launcher=slurm has it"),
    ],
)
def test_what_hydra_refuses_is_one_line_with_the_fix(override: str, line: str) -> None:
    with pytest.raises(HydraException) as caught:
        composed(override)
    said = str(one_line(caught.value, "train", TrainConfig))
    assert said.startswith(line)
    assert "\n" not in said


def test_a_key_is_not_the_answer_to_itself() -> None:
    with pytest.raises(HydraException) as caught:
        composed("loss=soft_target", "loss.label_smoothing=0.1")
    assert str(one_line(caught.value, "train", TrainConfig)) == (
        "loss.label_smoothing: no such key; loss=asymmetric or bce or cross_entropy or focal or "
        "poly or weighted has it"
    )


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--lr", "0.1"], "--lr: no such flag, pets takes key=value; in pets: plan.stages.head.lr"),
        (["--epochs=3"], "--epochs: no such flag, pets takes key=value; in pets: plan.stages.head"),
        (["--config", "x.yaml"], "--config: no such flag, pets takes key=value; your own YAML: --"),
        (["-m", "--seed", "3"], "--seed: no such flag, pets takes key=value; seed=..."),
        (["--data.size", "3"], "--data.size: no such flag, pets takes key=value; data.size=..."),
        (["--multrun"], "--multrun: no such flag, pets takes key=value; did you mean --multirun?"),
        (["-b", "64"], "-b: no such flag, pets takes key=value; in pets: data.batch_size=32"),
        (["--config-dir"], "--config-dir: expected a value after it"),
        (["--cfg", "--resolve"], "--cfg: expected a value after it"),
    ],
)
def test_a_foreign_flag_is_one_line(args: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_flags(args, TrainConfig)
    assert str(caught.value).startswith(line)


def test_hydras_own_flags_pass() -> None:
    check_flags(
        ["--info", "-m", "--cfg", "job", "--config-dir=x", "-cd", "y", "-p", "a"], TrainConfig
    )


@pytest.mark.parametrize(
    ("key", "advised"),
    [
        ("optimizer.foreach", "optimizer.foreach"),
        ("model.head.bias", "model.head.bias"),
        ("callbacks.progress_bar.color", "callbacks.progress_bar.color"),
        ("callbacks.mine.color", "callbacks.mine._target_"),
        ("logger.tensorboard.prefix", "logger.tensorboard.prefix"),
        ("loss.gamma", None),
        ("augment.crop.ratio", "augment.crop.ratio"),
        ("augment.photo.mine.p", "augment.photo.mine._target_"),
        ("data.prepare.photos_per", "data.prepare.photos_per"),
        *((key, None) for key in (
            "colour", "data.sise", "data.split_folders.valid", "plan.stages.third.lr",
            "plan.stages.head.colour", "lr_finder.colour", "precompute.colour", "sweep.colour",
            "trainer.logger", "trainer.colour", "hydra.launcher.colour", "model.colour",
            "interpret.colour", "callbacks.mine",
        )),
    ],
)  # fmt: skip
def test_plus_is_advised_where_it_works_and_nowhere_else(key: str, advised: str | None) -> None:
    line = message(TrainConfig, "train", key)
    match = re.search(r"; \+([\w.]+)=", line)
    assert (match[1] if match else None) == advised
    if advised:
        value = "torch.nn.Identity" if advised.endswith("_target_") else "1"
        typed(TrainConfig, composed(f"+{advised}={value}"))


def test_the_config_has_every_argument_of_the_trainer_that_works() -> None:
    """So that there is none that `+` could add."""
    keys = composed().trainer.keys()
    assert set(HONOURED) <= set(keys)


def test_aliases_are_commands_with_overrides_of_theirs() -> None:
    for name, (command, *given) in ALIASES.items():
        assert name not in list_commands()
        composed(*given, "run=x", name=command)


@pytest.mark.parametrize(
    ("arg", "override"),
    [
        ("split=val", "split=valid"),
        ("split=valid", "split=valid"),
        ("monitor=val/error_rate", "monitor=valid/error_rate"),
        ("monitor=valid/error_rate", "monitor=valid/error_rate"),
        ("source=val/a.jpg", "source='val/a.jpg'"),
    ],
)
def test_val_is_valid(arg: str, override: str) -> None:
    command = "predict" if arg.startswith("source") else "eval"
    assert to_overrides(command, [arg]) == [override]


def test_lightnings_other_name_is_the_package_that_runs() -> None:
    path = "lightning.pytorch.callbacks.LearningRateMonitor"
    target = Target.model_validate({"_target_": path})
    assert target.target == "pytorch_lightning.callbacks.LearningRateMonitor"
    assert target.model_dump(by_alias=True)["_target_"] == target.target
    assert refusal({"callbacks": {"x": {"_target_": path}}}) is None
    assert refusal({"callbacks": {"x": {"_target_": "lightning.pytorch.Trainer"}}}) is not None
    assert canonical("lightning.pytorchx.A") == "lightning.pytorchx.A"
    from pytorch_lightning.callbacks import LearningRateMonitor

    from pets.training.measures import build_callbacks

    (built,) = build_callbacks(train_config("callbacks=none", f"+callbacks.x._target_={path}"))
    assert isinstance(built, LearningRateMonitor)
    config = train_config("callbacks=none", "+callbacks.x._target_=collections.Counter")
    with pytest.raises(
        ConfigError, match=r"^callbacks\.x: collections\.Counter is not a Callback of"
    ):
        build_callbacks(config)
