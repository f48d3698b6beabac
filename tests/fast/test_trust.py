"""An untrusted run is data: nothing that it references is called unless it is allowed."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from pets.config import TrainConfig
from pets.errors import ConfigError, RunError, WeightsError
from pets.io.atomic import replacing, write_atomically
from pets.io.serialize import to_yaml
from pets.models.classifier import classifier_from
from pets.models.weights import empty_network, read_state_dict
from pets.run_dir import RunDir
from pets.sweep.overrides import with_saved_overrides
from pets.system.installation import conf_dir
from pets.training.checkpoints import FORMAT, read_checkpoint
from pets.training.warm_start import read_trained
from pets.trust import check, check_words, refusal
from tests.conftest import train_config

# Hydra's own list of forbidden names lets the second one through.
EVIL = (
    {"_target_": "os.system", "command": "touch ran"},
    {"_target_": "pandas.read_pickle", "filepath_or_buffer": {"_target_": "io.BytesIO"}},
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """An untrusted run: opened, not created by this process."""
    values = train_config().model_dump(by_alias=True, mode="json")
    RunDir.prepare(tmp_path / "run", values, [])
    return RunDir.open(tmp_path / "run")


def nodes(values: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a config names something to call."""
    if isinstance(values, dict):
        if "_target_" in values:
            yield keys
        for name, inner in values.items():
            yield from nodes(inner, (*keys, name))


def put(values: dict[str, Any], keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    values = copy.deepcopy(values)
    section = values
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    return values


CONFIG = train_config("callbacks=ema", "augment=mixup").model_dump(by_alias=True, mode="json")
CONFIG["data"]["prepare"] = None  # never followed


@pytest.mark.parametrize("evil", EVIL, ids=["plain", "nested"])
@pytest.mark.parametrize("keys", list(nodes(CONFIG)), ids=".".join)
def test_no_node_may_be_replaced_or_hold_another(keys: tuple[str, ...], evil: Any) -> None:
    key = ".".join(keys)
    assert refusal(CONFIG) is None
    for changed, where in (
        (put(CONFIG, keys, evil), key),
        (put(CONFIG, (*keys, "x"), evil), f"{key}.x"),
        (put(CONFIG, (*keys, "x"), [1, {"y": evil}]), f"{key}.x.y"),
    ):
        reason = str(refusal(changed))
        if keys[0] == "logger" and where != key:
            assert reason.startswith(f"{key}.x=")
        else:
            assert reason.startswith(f"{where}._target_={evil['_target_']}: ")


@pytest.mark.parametrize(
    ("keys", "value", "line"),
    [
        (("model", "head", "_args_"), [1], "model.head._args_=[1]: is not an argument"),
        (("trainer", "x"), EVIL[0], "trainer.x._target_=os.system: "),
        (("plan", "x"), [EVIL[0]], "plan.x._target_=os.system: "),
        (("loss",), EVIL[0], "loss._target_=os.system: "),
        (("model", "module"), "os", "model.module=os: "),
        (("loss", "x"), EVIL[0], "loss.x._target_=os.system: "),
        (("optimizer", "_target_"), "torch.optim.sgd.torch.load", "optimizer._target_=torch.optim"),
        (("augment", "crop", "_target_"), "torchvision.transforms.v2.Lambda", "augment.crop._tar"),
        (("model", "head", "_target_"), "torch.optim.SGD", "model.head._target_=torch.optim.SGD"),
        (("model", "head", "_target_"), ["os.system"], "model.head._target_=['os.system']: "),
        (("logger", "tensorboard", "name"), "../../x", "logger.tensorboard.name=../../x: may lead"),
        (("logger", "tensorboard", "version"), "..", "logger.tensorboard.version=..: may lead"),
        (("logger", "tensorboard", "log_dir"), "x", "logger.tensorboard.log_dir=x: may lead"),
        (("model", "package"), "my.module", "model.package=my.module: is not the name of a pack"),
    ],
)
def test_other_ways_out_are_refused(keys: tuple[str, ...], value: Any, line: str) -> None:
    assert str(refusal(put(CONFIG, keys, value))).startswith(line)


def test_what_pets_comes_with_is_allowed() -> None:
    """Everything in conf/ works without trust=true."""
    name = ["model.name=x"]
    needed = {
        "hf": ["data.dataset=x"], "table": ["data.table=x"], "timm": name, "torchvision": name,
    }  # fmt: skip
    groups = ("model/head", "augment", "optimizer", "loss", "callbacks", "logger", "plan", "data")
    for group in groups:
        options = [file.stem for file in (conf_dir() / group).glob("*.yaml")]
        assert options
        for option in set(options) - {"base", "own"}:
            config = train_config(f"{group}={option}", "data.root=x", *needed.get(option, ()))
            values = config.model_dump(by_alias=True, mode="json", exclude={"data": {"prepare"}})
            assert refusal(values) is None, (group, option)


def test_a_transform_may_hold_transforms_and_nothing_else() -> None:
    inner = {"_target_": "torchvision.transforms.v2.ColorJitter", "hue": 0.1}
    node = {"_target_": "torchvision.transforms.v2.RandomApply", "transforms": [inner]}
    assert refusal(put(CONFIG, ("augment", "photo", "x"), node)) is None
    node["transforms"] = [EVIL[0]]
    line = str(refusal(put(CONFIG, ("augment", "photo", "x"), node)))
    assert line.startswith("augment.photo.x.transforms._target_=os.system: ")


def test_a_run_is_checked_where_its_config_is_read(run: RunDir) -> None:
    file = run.path / "config.yaml"
    values = put(run.read_config(), ("optimizer", "eps"), EVIL[1])
    file.write_text(to_yaml(values), encoding="utf-8")
    with pytest.raises(RunError) as refused:
        _ = run.config
    assert str(refused.value) == (
        f"{file}: optimizer.eps._target_=pandas.read_pickle: is not called for a run from "
        "elsewhere; expected what pets comes with; if you trust who made it: trust=true"
    )
    assert RunDir.open(run.path, trusted=True).config == values


def test_weights_of_a_run_with_a_link_out_of_it_are_refused(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").touch()
    (run.path / "photos.csv").unlink(missing_ok=True)
    (run.path / "photos.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(WeightsError, match=r"^model\.weights=.*leads out of the folder"):
        read_trained(str(run.path))


def test_a_run_writes_nothing_elsewhere(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETS_CACHE", "/mine")
    assert RunDir.open(run.path, trusted=True).config["data"]["prepare"] is not None
    run.update_config({"cache_dir": "/somewhere/else"})
    assert run.config["cache_dir"] == "/mine"
    assert run.config["data"]["prepare"] is None
    assert run.read_config()["cache_dir"] == "/somewhere/else"


def test_links_out_of_a_run_are_refused(run: RunDir, tmp_path: Path) -> None:
    (run.path / "report.html").symlink_to(run.path / "status.json")  # inside: as it likes
    RunDir.open(run.path)
    link = run.path / "checkpoints" / ".x.part"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "outside")
    with pytest.raises(RunError, match="leads out of the folder"):
        RunDir.open(run.path)
    RunDir.open(run.path, trusted=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [1]\nb: [*a, *a]\n", "aliases"),
        ("!!python/object/apply:os.system ['touch ran']\n", "could not determine a constructor"),
        ("[" * 5000, "cannot be read"),
    ],
)
def test_yaml_is_plain(run: RunDir, text: str, reason: str) -> None:
    (run.path / "config.yaml").write_text(text)
    with pytest.raises(RunError, match=reason):
        _ = run.config


def test_a_checkpoint_is_checked_where_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    head = {"_target_": "pets.models.heads.LinearHead", "x": EVIL[1]}
    torch.save({"pets": {"format": FORMAT, "model": {"head": head}}, "state_dict": {}}, file)
    with pytest.raises(RunError, match=r"last.ckpt: model.head.x._target_=pandas.read_pickle: "):
        read_checkpoint(file)
    assert read_checkpoint(file, trusted=True)["pets"]["model"]["head"] == head


KEYS = list(TrainConfig.model_fields)


@pytest.mark.parametrize(
    "word",
    [
        "+hydra.callbacks.x._target_=os.system", "hydra.hydra_logging.handlers={}",
        "hydra.launcher.setup=[reboot]", "hydra/launcher=slurm", "hydra.sweeper.sampler.seed=1",
        "hydra.sweeper.pruner._target_=os.system", "hydra/sweeper/pruner=../../evil",
        "hydra.sweeper.n_trials=${x}", "loss.label_smoothing=${oc.env:HOME}", "-cd",
        "--config-dir=/tmp", "+callbacks.x={_target_: os.system}", "model=../../evil", "data.prepare.url=http://x",
        "unknown=1", "seed", "optimizer.eps=a\\$b",
    ],
)  # fmt: skip
def test_overrides_of_a_sweep_are_values(word: str, tmp_path: Path) -> None:
    with pytest.raises(RunError) as refused:
        check_words(["seed=1", word], tmp_path / "sweep.yaml", KEYS)
    assert str(refused.value).startswith(f"{tmp_path / 'sweep.yaml'}: {word}: is more than a value")


def test_usual_overrides_of_a_sweep_are_allowed(tmp_path: Path) -> None:
    args = [
        "plan.stages.head.lr=tag(log,interval(1e-4,1e-2))", "seed=0,1", "model/head=linear",
        "experiment=sweep_lr_epochs_arch", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4",
        "hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_warmup_steps=3",
        "~callbacks.progress_bar", "+trainer.benchmark=true", "data.label_regex='^(.+)_x[.]jpg'",
    ]  # fmt: skip
    check_words(args, tmp_path / "sweep.yaml", KEYS)


def test_the_cache_of_a_resumed_sweep_is_this_users_own(tmp_path: Path) -> None:
    saved = {"overrides": ["seed=0,1", "cache_dir=/x"]}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(saved))
    typed = ["-m", f"sweep.resume={tmp_path}", "loss.label_smoothing=0.1"]
    assert with_saved_overrides(typed) == ["-m", "seed=0,1", *typed[1:]]
    assert "cache_dir=/x" in with_saved_overrides([*typed, "trust=true"])


@pytest.mark.parametrize("word", ["trust=true", "resume=/x"])
def test_a_sweep_cannot_trust_itself(word: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"overrides": ["seed=0,1", word]}))
    typed = ["-m", f"sweep.resume={tmp_path}", "seed=3"]
    with pytest.raises(RunError, match=f"{word}: is more than a value"):
        with_saved_overrides(typed)
    assert word in with_saved_overrides([*typed, "trust=true"])


def test_values_that_are_no_config_are_refused_or_plain(tmp_path: Path) -> None:
    for values in ({"model": 3}, {"model": {"head": "x"}}, {"optimizer": [1, [2]]}, {1: {2: 3}}):
        check(values, tmp_path)


def test_nothing_is_written_through_a_link_in_an_untrusted_sweep(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    (tmp_path / "sweep").mkdir()
    for write in (lambda file: write_atomically(file, b"x"), through_replacing):
        (tmp_path / "sweep" / ".summary.csv.part").symlink_to(mine)
        write(tmp_path / "sweep" / "summary.csv")
        assert (tmp_path / "sweep" / "summary.csv").read_text() == "x"
        assert mine.read_text() == "precious"


def through_replacing(file: Path) -> None:
    with replacing(file) as part:
        part.write_text("x")


@pytest.mark.parametrize("name", ["multirun.yaml", "optuna.sqlite", "0_seed0", "0_a/.lock"])
def test_links_out_of_a_sweep_are_refused_before_hydra_writes(name: str, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    (sweep / name).parent.mkdir(parents=True)
    (sweep / name).symlink_to(tmp_path / "mine")
    for resume in (f"sweep.resume={sweep}", f"++sweep.resume='{sweep}'"):
        with pytest.raises(RunError, match=f"{name}: leads out of the folder"):
            with_saved_overrides(["-m", resume])
        assert with_saved_overrides(["-m", resume, "trust=true"]) == ["-m", resume, "trust=true"]


def test_a_run_cannot_trust_itself(run: RunDir) -> None:
    """The ranks beside the first one ask the config."""
    file = run.path / "config.yaml"
    file.write_text(to_yaml(run.read_config() | {"trust": True}), encoding="utf-8")
    assert run.train_config.trust is False


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("status.json", "[" * 100_000),
        ("status.json", '{"a":' * 100_000),
        ("overrides.yaml", "- &a [x]\n- [*a, *a]\n"),
        ("overrides.yaml", "[" * 5000),
        ("overrides.yaml", "3"),
    ],
)
def test_files_of_a_run_that_are_no_plain_values_are_one_line(
    run: RunDir, name: str, text: str
) -> None:
    (run.path / name).write_text(text)
    with pytest.raises(RunError, match=f"{name}: "):
        _ = (run.status, run.overrides)


def test_a_status_without_its_epochs_is_no_traceback(run: RunDir) -> None:
    run.write_json("status.json", {"state": "failed", "stage": "head"})
    with pytest.raises(RunError, match=r"state failed, stage head, \? of \? epochs"):
        RunDir.open_finished(run.path)


@pytest.mark.parametrize("pickled", [b"", b".", b"\x80\x09.", b"(" * 200_000 + b"t."])
def test_a_damaged_pickle_is_one_line(tmp_path: Path, pickled: bytes) -> None:
    file = tmp_path / "last.ckpt"
    torch.save({"pets": {"format": FORMAT}, "state_dict": {}}, file)
    with zipfile.ZipFile(file) as archive:
        whole = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in whole.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else content)
    with pytest.raises(RunError, match=r"last\.ckpt: "):
        read_checkpoint(file)
    with pytest.raises(WeightsError, match=r"last\.ckpt: "):
        read_state_dict(file)


@pytest.mark.parametrize(
    ("key", "value"),
    [("classes", 3), ("classes", [["a"]]), ("size", "ab"), ("size", [8]), ("preprocess", {}),
     ("preprocess", {"mean": "x", "std": "y", "interpolation": "z", "crop_pct": "q"})],
)  # fmt: skip
def test_a_description_of_other_types_is_refused(key: str, value: Any) -> None:
    preprocess = {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear", "crop_pct": 1}
    about = {"classes": ["a"], "size": [8, 8], "preprocess": preprocess, "model": CONFIG["model"]}
    with pytest.raises(ValidationError):
        classifier_from(about | {key: value})


@pytest.mark.parametrize("name", ["hf-hub:x/y", "local-dir:/tmp", "resnet18.hf-hub:x/y"])
def test_a_network_of_a_checkpoint_asks_no_host(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a host was asked for"))
    model = train_config().model
    assert model.library == "timm"
    empty_network(model)
    with pytest.raises(ConfigError, match="timm has no such architecture"):
        empty_network(model.model_copy(update={"name": name}))


def test_nothing_is_instantiated_through_hydra() -> None:
    for file in (Path(__file__).parents[2] / "src").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "hydra.utils import instantiate" not in text, file
        assert "utils.instantiate" not in text, file
