"""Numbers of numpy and torch in files that are read back."""

import json
import shlex
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pets.cache.store import Store
from pets.cli.arguments import to_overrides
from pets.export.int8 import Quantised
from pets.io.serialize import plain, to_json, to_override, to_yaml
from pets.report.template import template
from pets.run_dir import RunDir
from pets.training.checkpoint_io import AtomicCheckpointIO, HeldCheckpoint
from pets.training.checkpoints import read_checkpoint
from tests.conftest import composed

NUMPY = {
    "bool": np.bool_(True), "int": np.int64(3), "half": np.float16(0.5), "double": np.float64(0.25),
    "text": np.str_("cat"), "array": np.array([[1, 2], [3, 4]]), "torch": torch.tensor(1.5),
    "deep": [{"a": (np.uint8(7), None)}], np.int64(5): "a key",
}  # fmt: skip
PLAIN = {
    "bool": True, "int": 3, "half": 0.5, "double": 0.25, "text": "cat", "array": [[1, 2], [3, 4]],
    "torch": 1.5, "deep": [{"a": [7, None]}], "5": "a key",
}  # fmt: skip


def types(value: Any) -> set[type]:
    """All types in it."""
    if isinstance(value, dict):
        return {dict}.union(*(types(inner) for pair in value.items() for inner in pair))
    if isinstance(value, list | tuple):
        return {type(value)}.union(*map(types, value))
    return {type(value)}


def test_json_and_yaml_convert_numpy_numbers_alike() -> None:
    assert types(plain(NUMPY)) == {dict, list, tuple, str, bool, int, float, type(None)}
    assert json.loads(to_json(NUMPY)) == PLAIN
    read = yaml.safe_load(to_yaml(NUMPY))
    assert {str(key): value for key, value in read.items()} == PLAIN
    assert list(read)[:3] == ["bool", "int", "half"]


def test_a_run_directory_stores_numpy_numbers(tmp_path: Path) -> None:
    run = RunDir.prepare(tmp_path / "run", {"plan": {"lr": 0.1}}, [])
    run.update_status(lr_found=NUMPY)
    assert run.status["lr_found"] == PLAIN
    run.update_config({"plan.lr": np.float32(0.5)})
    assert run.config == {"plan": {"lr": 0.5}}
    run.write_json("numbers.json", NUMPY)
    assert run.read_json("numbers.json") == PLAIN


@pytest.mark.parametrize("held", [True, False])
def test_a_checkpoint_with_numpy_numbers_loads(tmp_path: Path, held: bool) -> None:
    weights = OrderedDict(w=torch.arange(3.0))
    content = {
        "pets": {"format": np.int64(1), "classes": [np.str_("cat")]}, "state_dict": weights,
        "best": np.float64(0.5), "betas": (np.float32(0.5), 0.9), 0: {"step": torch.tensor(2.0)},
    }  # fmt: skip
    file = tmp_path / "last.ckpt"
    if held:
        later = HeldCheckpoint()
        AtomicCheckpointIO().save_checkpoint(content, file, later)
        later.write(file)
    else:
        AtomicCheckpointIO().save_checkpoint(content, file)
    found = read_checkpoint(file)
    assert found["pets"] == {"format": 1, "classes": ["cat"]}
    assert torch.equal(found["state_dict"]["w"], weights["w"])
    assert (found["best"], found["betas"]) == (0.5, (0.5, 0.9))
    assert torch.equal(found[0]["step"], torch.tensor(2.0))


def test_cache_keys_may_contain_numpy_numbers(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "made").touch()

    store = Store(tmp_path)
    keys = {"size": np.int64(3), "all": np.bool_(True)}, {"size": 3, "all": True}
    first, second = (store.get("kind", key, "words", 0, str, make) for key in keys)
    assert first == second


def test_pages_may_contain_numpy_numbers() -> None:
    page = template("pets.report", "head.html").environment.from_string("{{ found | tojson }}")
    assert json.loads(page.render(found=NUMPY["deep"])) == PLAIN["deep"]


@pytest.mark.parametrize("number", [0.5, np.float64(0.5), np.float32(0.5)])
def test_int8_writes_whatever_its_numbers_are(number: float) -> None:
    found = Quantised(10, accuracy=number, accuracy_float=1.0, speed=2.0, batch=16)
    assert json.loads(to_json(found.as_dict()))["kept"] is False


# Names of files and folders that the shell or Hydra would read as something else.
NAMES = [
    "outputs/a", "a=b", "a,b", "it's", "a b", "[x]", "{a: b}", "(x)", '"x"', "'x'", "$HOME",
    "${seed}", r"a\${seed}", r"\\${seed}", "\\", r"a\'b", r"a\\'b\\", "~x", "~", "fötos", "2024",
    "1e5", "null", "True", "nan", ".5", "a:b", "#x", "*?", "a\nb", " a ", "x/[1,2]=3",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_override_that_is_pasted_is_the_name(name: str) -> None:
    line = shlex.join(["pets", "train", "data=folder", to_override("data.root", name)])
    words = shlex.split(line)[2:]
    assert composed(*to_overrides("train", words)).data.root == name


def test_plain_names_need_no_quotes() -> None:
    assert to_override("run", Path("outputs/2026-11-29/12-00-00")).endswith(
        "=outputs/2026-11-29/12-00-00"
    )
    assert to_override("model.name", "vit_small.lvd142m") == "model.name=vit_small.lvd142m"
