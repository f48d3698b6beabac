"""What GitHub, containers and the package index read fits with what the project says of itself."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import pets
from pets.system import installation

TOP = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((TOP / ".github/workflows").glob("*.yml"))
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
ACTION = re.compile(r"[\w.-]+/[\w.-]+@(?:[0-9a-f]{40}  # v\d+\.\d+\.\d+|release/v1)")


def read(name: str) -> Any:
    return yaml.safe_load((TOP / name).read_text())


def text(name: str) -> str:
    return (TOP / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_runs_what_is_there_and_may_do_little(file: Path) -> None:
    content = file.read_text()
    workflow = yaml.safe_load(content)
    assert workflow["permissions"] == {"contents": "read"}
    makefile = text("Makefile")
    targets = re.findall(r"\bmake ([\w-]+)", content)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert targets or ".ci/run" in content
    assert content.count("uses: ") == len(re.findall(rf"uses: {ACTION.pattern}$", content, re.M))
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        checkouts = [s for s in job["steps"] if s.get("uses", "").startswith("actions/checkout")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_the_workflows_together_cover_what_is_promised() -> None:
    assert {file.stem for file in WORKFLOWS} == {"tests", "nightly", "docs", "release"}
    fast = read(".github/workflows/tests.yml")["jobs"]["fast"]["strategy"]["matrix"]
    assert fast["python"] == PYTHONS
    assert [entry["os"] for entry in fast["include"]] == ["macos-latest"]
    nightly = read(".github/workflows/nightly.yml")["jobs"]["all"]["strategy"]["matrix"]["include"]
    assert sorted(entry["python"] for entry in nightly) == PYTHONS
    for entry in nightly:
        assert f"{entry['versions']})" in text(".ci/run")
    publish = read(".github/workflows/release.yml")["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}  # and no code of ours runs with it
    assert not [step for step in publish["steps"] if "run" in step]


def test_the_versions_of_python_agree() -> None:
    oldest, newest = PYTHONS[0], PYTHONS[-1]
    after = f"3.{int(newest.split('.')[1]) + 1}"
    assert PROJECT["requires-python"] == f">={oldest},<{after}"
    assert f"Python {oldest} to {newest}" in text("Makefile")
    assert f"Python {oldest} to {newest}" in text("README.md")
    assert f"ARG PYTHON={newest}\n" in text("Dockerfile")
    assert json.loads(text(".devcontainer/devcontainer.json"))["image"].endswith(f":{newest}")


def test_the_citation_names_the_version_that_the_changelog_begins_with() -> None:
    citation = read("CITATION.cff")
    newest = re.findall(r"^## (\S+) \((unreleased|20\d\d-\d\d-\d\d)\)$", text("CHANGELOG.md"), re.M)
    assert (citation["version"], str(citation.get("date-released", "unreleased"))) == newest[0]
    assert citation["license"] == PROJECT["license"]
    assert citation["keywords"] == PROJECT["keywords"]


def test_the_image_is_built_from_the_lock_and_runs_as_nobody_special() -> None:
    dockerfile = text("Dockerfile")
    assert "://" not in dockerfile
    assert "index-url" not in dockerfile
    assert "-c locks/all.txt -r pyproject.toml" in dockerfile
    (extras,) = re.findall(r'^ARG EXTRAS="(.+)"$', dockerfile, re.MULTILINE)
    assert set(extras.split()) <= PROJECT["optional-dependencies"].keys()
    last = dockerfile.split("\nFROM ")[-1]
    assert "\nUSER 10001:10001\n" in last
    # What git tracks is all there: else the version would be that of a changed checkout.
    ignored = {line.strip("/").removeprefix("**/") for line in text(".dockerignore").split("\n")}
    tracked = {line.strip("/") for line in text(".gitignore").split("\n")}
    assert {line for line in ignored if not line.startswith("#")} <= tracked


def test_the_composed_services_cannot_change_the_run() -> None:
    for service in read("compose.yaml")["services"].values():
        (run,) = service["volumes"]
        assert run["read_only"]
        assert f"run={run['target']}" in service["command"]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["build"]["args"]["DEVICE"] in ("cpu", "cuda")


def test_forms_hooks_and_updates_are_read() -> None:
    forms = {file.stem: read(str(file)) for file in (TOP / ".github/ISSUE_TEMPLATE").glob("*.yml")}
    assert forms.pop("config") == {"blank_issues_enabled": False}
    assert forms.keys() == {"bug", "feature", "question"}
    for form in forms.values():
        assert form.keys() == {"name", "description", "labels", "body"}
        asked = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in asked}) == len(asked)
        assert any(field["validations"]["required"] for field in asked if "validations" in field)
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {"ruff-check", "ruff-format", "mypy"} <= {hook["id"] for hook in hooks}
    updates = read(".github/dependabot.yml")["updates"]
    assert {entry["package-ecosystem"] for entry in updates} >= {"github-actions", "docker"}


def test_windows_is_told_where_pets_runs() -> None:
    code = "import sys; sys.platform = 'win32'; import pets"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stderr.endswith(
        "ImportError: pets runs on Linux and macOS; on Windows use WSL, which is a Linux\n"
    )
    assert "on Windows use WSL" in text(".github/workflows/tests.yml")


def test_a_checkout_is_the_last_tag_and_what_came_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
    env = os.environ | {f"GIT_{name}": "x" for name in about}

    def git(*args: str) -> str:
        return subprocess.check_output(["git", *args], cwd=tmp_path, env=env, text=True).strip()

    def version() -> str:
        return installation.code_version.__wrapped__()

    monkeypatch.setattr(installation, "checkout", lambda: tmp_path)
    assert version() == pets.__version__  # a folder without git
    git("init", "--quiet")
    file = tmp_path / "file"
    for n in range(3):
        file.write_text(str(n))
        git("add", "file")
        git("commit", "--quiet", "--message", str(n))
        commit = git("rev-parse", "--short=12", "HEAD")
        if n == 0:
            assert version() == f"0+{commit}"
            git("tag", "v0.2.0")
            assert version() == "0.2.0"
        else:
            assert version() == f"0.2.0+{n}.g{commit}"
    git("tag", "tested-here")  # not a version
    file.write_text("changed")
    assert version() == f"0.2.0+2.g{commit}.dirty"
