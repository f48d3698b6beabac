"""An invalid config gives one line with the key, the value, what was expected and the fix."""

from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from pets.config import EvalConfig, PredictConfig, Target, TrainConfig
from pets.config.instantiate import build, check_signature
from pets.config.validation import suggestion, typed, typed_values
from pets.errors import ConfigError
from pets.system.installation import conf_dir
from tests.conftest import composed, train_config


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["seed=abc"], "seed=abc: expected a whole number"),
        (["seed=true"], "seed=True: expected a whole number"),
        (["seed=-1"], "seed=-1: expected a number of at least 0"),
        (
            ["data.size=big"],
            "data.size=big: expected pixels: one number from 8 to 4096, or [height, width], "
            "or auto",
        ),
        (
            ["model.pool=max"],
            "model.pool=max: expected 'auto', 'own', 'token', 'avg' or 'concat'",
        ),
        (["model.args=7"], "model.args=7: expected keys with values"),
        (["model.grad_checkpointing=1"], "model.grad_checkpointing=1: expected true or false"),
        *(
            (
                ["model=resnet18", key],
                f"model: {key.removeprefix('model.')}: is for networks of timm; expected "
                f"model=timm model.name=resnet18, or {key.partition('=')[0]} left out",
            )
            for key in ("model.pool=own", "model.grad_checkpointing=True")
        ),
        (
            ["plan.stages.head.lr=0"],
            "plan.stages.head.lr=0: expected a number above 0, or [low, high] spread over the "
            "layer groups; auto, auto/10, [auto/100, auto]: suggested by the lr finder",
        ),
        (
            ["plan.stages.head.lr=[1e-3]"],
            "plan.stages.head.lr=[0.001]: expected a number above 0, or [low, high] spread over "
            "the layer groups; auto, auto/10, [auto/100, auto]: suggested by the lr finder",
        ),
        (
            ["plan.stages.body.lr=[1e-3,1e-5]"],
            "plan.stages.body: lr=[0.001, 1e-05]: expected [low, high], the head's rate last",
        ),
        (
            ["plan.stages.body.lr=[auto,auto/10]"],
            "plan.stages.body: lr=[auto, auto/10]: expected [low, high], the head's rate last",
        ),
        (
            ["plan.stages.body.lr=automatic"],
            "plan.stages.body.lr=automatic: expected a number above 0, or [low, high] spread over "
            "the layer groups; auto, auto/10, [auto/100, auto]: suggested by the lr finder",
        ),
        (
            ["lr_finder.start_lr=1", "lr_finder.end_lr=0.1"],
            "lr_finder: start_lr=1, end_lr=0.1: expected an end of at least 10 times the start",
        ),
        (["lr_finder.steps=5"], "lr_finder.steps=5: expected a number of at least 30"),
        (
            ["lr_finder.method=guess"],
            "lr_finder.method=guess: expected one or more of valley, slide, minimum, steep",
        ),
        (
            ["lr_finder.method=[valley,slide,valley]"],
            "lr_finder.method=[valley, slide, valley]: expected each method once",
        ),
        (
            ["data.size=[64,4]"],
            "data.size=[64, 4]: expected pixels: one number from 8 to 4096, or [height, width], "
            "or auto",
        ),
        (
            ["plan.stages.head.epochs=0"],
            "plan.stages.head.epochs=0: expected a number of at least 1",
        ),
        (
            ["plan.stages.head.schedule=two_cycle"],
            "plan.stages.head.schedule=two_cycle: expected 'one_cycle' or 'constant'",
        ),
        (
            ["+data.sise=3"],
            "data.sise=3: no such key; did you mean data.size? (--cfg job shows every key)",
        ),
        (
            ["plan=frozen4", "~plan.stages.head"],
            "plan: stages is empty; expected at least one stage, e.g. plan=frozen4",
        ),
        (["data=folder"], "data.root is needed; give it as data.root=..."),
        (
            ["data.label_from=folder"],
            "data: label_regex has no effect with label_from=folder; "
            "set data.label_from=filename or data.label_regex=null",
        ),
        (
            ["data.label_regex=null"],
            "data: label_from=filename needs a regex, as in \"data.label_regex='^(.+)_\\d+'\"",
        ),
        (
            ["data.split=column"],
            "data: split=column needs data.label_from=table and data.split_column",
        ),
        (
            ["data.valid_pct=0.5", "data.test_pct=0.5"],
            "data: valid_pct + test_pct = 1 leaves nothing to train on; expected less than 0.95",
        ),
        *(
            (
                [f"data.{key}='{regex}'"],
                f"data.{key}={regex}: expected a regex with the part to take in brackets, as in "
                f"'^(.+)_\\d+' ({reason})",
            )
            for key in ("label_regex", "group_regex")
            for regex, reason in (
                ("(", "missing ), unterminated subpattern at position 0"),
                ("images", "it has no group"),
            )
        ),
        *(
            (
                [f"data.split={split}", *more, f"data.{key}={value}"],
                f"data: {key} has no effect with split={split}; set data.split={other} or "
                f"data.{key}={default}",
            )
            for key, value, default, split, other, more in (
                ("valid_pct", 0.3, 0.2, "kfold", "random", ["data.folds=5", "data.fold=0"]),
                ("valid_pct", 0.3, 0.2, "official", "random", ["data.test_pct=0"]),
                ("test_pct", 0.1, 0, "folders", "random", []),
                ("carve_pct", 0.1, 0.05, "random", "official", []),
            )
        ),
        (["data.on_bad_image=ignore"], "data.on_bad_image=ignore: expected 'error' or 'skip'"),
    ],
)
def test_an_invalid_value_is_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_config(*overrides)
    assert str(caught.value) == line


def test_an_empty_list_of_callbacks_or_loggers_is_none() -> None:
    config = train_config("callbacks=[]", "logger=[]")
    assert (config.callbacks, config.logger) == ({}, {})


@pytest.mark.parametrize("run", ["hf-hub:", "hf-hub:nonsense", "hf-hub:a/b/c", "hf-hub:a/b@"])
def test_a_repository_has_a_user_and_a_name(run: str) -> None:
    asked = ("source=x.jpg", f"run='{run}'")
    with pytest.raises(ConfigError) as caught:
        typed(PredictConfig, composed(*asked, name="predict"))
    expected = "expected hf-hub:user/name, or hf-hub:user/name@revision"
    assert str(caught.value) == f"run={run}: {expected}"
    assert typed(PredictConfig, composed(asked[0], "run='hf-hub:a/b.c'", name="predict")).run


def test_two_invalid_values_are_two_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        train_config("seed=a", "data.batch_size=0")
    assert sorted(str(caught.value).splitlines()) == [
        "data.batch_size=0: expected a number of at least 1",
        "seed=a: expected a whole number",
    ]


def test_missing_keys_are_one_line_that_says_where_they_come_from() -> None:
    values = train_config().model_dump(by_alias=True, mode="json")
    for key in ("groups", "package", "weights", "channels_last"):
        del values["model"][key]
    with pytest.raises(ConfigError) as error:
        typed_values(TrainConfig, values)
    assert str(error.value) == (
        "missing from the config: model.weights, model.package, model.groups and 1 more; "
        "~model.weights on the command line removes it, or its file in conf/model/ does not begin "
        "with defaults: [base]"
    )
    values = train_config().model_dump(by_alias=True, mode="json")
    del values["plan"]["stages"]["head"]["size"], values["seed"]
    with pytest.raises(ConfigError) as error:
        typed_values(TrainConfig, values)
    assert str(error.value).endswith("begin with defaults: [/stage@stages.<name>: default]")


def test_every_group_option_composes_and_is_valid() -> None:
    from pets.system.installation import conf_dir

    needs = {
        "data=folder": ["data.root=x"],
        "data=table": ["data.root=x"],
        "data=hf": ["data.dataset=x"],
        "model=timm": ["model.name=resnet18"],
        "model=torchvision": ["model.name=mobilenet_v3_large"],
        "loss=own": ["loss._target_=torch.nn.CrossEntropyLoss"],
    }
    groups = [
        "data", "augment", "model", "plan", "optimizer", "loss", "trainer", "callbacks", "logger",
        "debug",
    ]  # fmt: skip
    seen = 0
    for group in [*groups, "experiment"]:
        for file in sorted((conf_dir() / group).glob("*.yaml")):
            if file.stem != "base":
                option = f"{group}={file.stem}"
                train_config(option, *needs.get(option, []))
                seen += 1
    assert seen >= 32


def test_size_as_number_and_as_rectangle() -> None:
    assert train_config("data.size=64").data.height_width == (64, 64)
    assert train_config("data.size=[48,64]").data.height_width == (48, 64)


def test_a_saved_config_reads_back_as_the_same() -> None:
    config = train_config("data.size=[48,64]", "seed=3")
    assert typed_values(TrainConfig, config.model_dump(by_alias=True, mode="json")) == config


def test_eval_needs_a_run() -> None:
    with pytest.raises(ConfigError, match=r"run is needed; give it as run=\.\.\."):
        typed(EvalConfig, composed(name="eval"))


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (
            {"_target_": "torch.optim.AdamW", "beta": 3},
            r"x\.beta: AdamW takes no such argument; did you mean betas\?",
        ),
        (
            {"_target_": "torch.optim.AdamV"},
            r"x\._target_=torch\.optim\.AdamV: cannot be imported",
        ),
        (
            {"_target_": "pets.models.heads.LinearHead", "features": 3},
            r"x\.classes is missing: LinearHead needs it",
        ),
    ],
)
def test_a_wrong_signature_names_the_argument(node: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        check_signature("x", Target.model_validate(node), ("params",))


def test_refused_values_name_their_key() -> None:
    target = Target.model_validate({"_target_": "torch.optim.AdamW", "betas": [2.0, 3.0]})
    weight = [torch.nn.Parameter(torch.zeros(1))]
    with pytest.raises(ConfigError, match=r"optimizer: torch\.optim\.AdamW refuses .*beta"):
        build("optimizer", target, params=weight)


@pytest.mark.parametrize(
    "plan", ["constant", "fine_tune", "frozen4", "lesson1", "progressive", "unfrozen"]
)
def test_a_stage_uses_the_default_of_a_missing_key(plan: str) -> None:
    written, defaults = (
        OmegaConf.to_container(OmegaConf.load(conf_dir() / name))
        for name in (f"plan/{plan}.yaml", "stage/default.yaml")
    )
    written = written["stages"]
    stages = OmegaConf.to_container(composed(f"plan={plan}").plan.stages)
    assert stages == {name: defaults | keys for name, keys in written.items()}
    for name, keys in written.items():
        assert not keys.items() & defaults.items(), f"{plan}: {name} repeats a default"


@pytest.mark.parametrize("file", sorted(conf_dir().glob("*.yaml")), ids=lambda file: file.stem)
def test_no_key_of_a_command_has_the_name_of_a_group(file: Path) -> None:
    """Hydra would read `key=value` as the choice of a group's option."""
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
    keys = {key for key, value in values.items() if not isinstance(value, dict | list)}
    assert keys.isdisjoint(groups)


@pytest.mark.parametrize("key", ["logger.x._target_", "optimizer._target", "callbacks.x.target"])
def test_the_key_of_a_target_is_never_suggested_by_its_fields_name(key: str) -> None:
    assert "target" not in suggestion(key, TrainConfig)
    assert "did you mean plan.stages?" in suggestion("plan.stage", TrainConfig)
