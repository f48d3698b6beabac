"""The locks are those of pyproject.toml: after every change of a requirement, `make lock`."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).resolve().parents[2]
WHOLE = tomllib.loads((TOP / "pyproject.toml").read_text())
PROJECT, EXTRAS = WHOLE["project"], WHOLE["project"]["optional-dependencies"]
NEEDED = {
    "all": [*PROJECT["dependencies"], *(word for extra in EXTRAS.values() for word in extra)],
    "demo": [*PROJECT["dependencies"], *EXTRAS["weights"]],
    "tools": ["uv", "setuptools", *WHOLE["build-system"]["requires"]],
}


def locked(name: str) -> dict[str, set[str]]:
    """The versions of every package; several where they depend on Python or the system."""
    result: dict[str, set[str]] = {}
    for entry in entries(name):
        package, version = re.match(r"([\w.-]+)==([\w.+-]+)", entry).groups()  # type: ignore[union-attr]
        result.setdefault(canonicalize_name(package), set()).add(version)
    return result


def entries(name: str) -> list[str]:
    text = (TOP / f"locks/{name}.txt").read_text()
    return re.findall(r"^[\w.-]+==(?:.*\\\n)*.*", text, re.MULTILINE)


@pytest.mark.parametrize("name", NEEDED)
def test_a_lock_has_what_is_required_with_hashes_and_from_anywhere(name: str) -> None:
    versions = locked(name)
    for word in map(Requirement, NEEDED[name]):
        its = versions.get(canonicalize_name(word.name), set())
        assert its, f"{word} is not in locks/{name}.txt; make lock"
        assert all(version in word.specifier for version in its), f"{word} is locked at {its}"
    assert all("--hash=sha256:" in entry for entry in entries(name))
    assert "://" not in (TOP / f"locks/{name}.txt").read_text()


@pytest.mark.parametrize("name", ["demo", "tools"])
def test_installing_all_extras_keeps_the_versions(name: str) -> None:
    more = {package for package in locked(name) if package not in locked("all")}
    assert more <= {"uv"}
    assert all(versions == locked("all")[p] for p, versions in locked(name).items() if p != "uv")


def test_the_demo_installs_no_more_than_it_needs() -> None:
    assert (
        not {"openvino", "jupyterlab", "optuna", "playwright", "onnxruntime"}
        & locked("demo").keys()
    )
    assert len(locked("demo")) < len(locked("all")) / 2
