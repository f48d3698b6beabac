"""Install hints for missing extras are valid shell commands and name our distribution."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pets.system.installation import DISTRIBUTION, checkout, install

TOP = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]


def test_a_checkout_is_installed_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkout() == TOP
    monkeypatch.setattr(sys, "executable", "/env dir/bin/python")
    assert install("verify") == f"'/env dir/bin/python' -m pip install -e \"{TOP}[verify]\""


def test_an_installed_package_suggests_its_name_on_the_index(tmp_path: Path) -> None:
    """As in the wheel: the configs are inside the package."""
    (tmp_path / "pets/conf").mkdir(parents=True)
    (tmp_path / "pets/system").mkdir()
    files = ("__init__", "errors", "system/__init__", "system/cpu", "system/installation")
    for name in (f"{file}.py" for file in files):
        shutil.copy(TOP / "src/pets" / name, tmp_path / "pets" / name)
    code = "from pets.system.installation import *; print(checkout(), install('verify'))"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    ).stdout  # fmt: skip
    assert output == f'None {sys.executable} -m pip install "pets-lightning[verify]"\n'
    assert PROJECT["name"] == DISTRIBUTION == "pets-lightning"


def test_every_suggested_extra_exists_and_no_hint_installs_another_distribution() -> None:
    named = set()
    for folder in ("src", "conf", "docs", "notebooks"):
        for file in (TOP / folder).rglob("*"):
            if file.suffix in (".py", ".yaml", ".md", ".ipynb"):
                text = file.read_text(encoding="utf-8")
                named |= {*re.findall(r"install\([\"'](\w+)[\"']\)", text)}
                named |= {*re.findall(r"the extra `(\w+)`", text)}
                assert not re.search(r"pip install [\"']?pets\b(?!-lightning)", text), file
    assert not re.search(r"pip install [\"']?pets\b(?!-lightning)", (TOP / "README.md").read_text())
    assert named == {
        "weights", "verify", "openvino", "export", "serve", "optuna", "slurm", "loggers", "lora",
        "hub", "heic",
    }  # fmt: skip
    assert named <= PROJECT["optional-dependencies"].keys()
