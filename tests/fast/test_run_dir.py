"""Run directories: what is in them, and what is refused."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pets.errors import RunError
from pets.run_dir import RunDir
from pets.system.installation import code_version
from tests.conftest import train_config


def test_a_new_run_keeps_config_overrides_and_environment(tmp_path: Path) -> None:
    run = RunDir.prepare(tmp_path / "r", {"seed": 0, "name": "é"}, ["seed=0"])
    assert run.config == {"seed": 0, "name": "é"}
    assert run.status["state"] == "waiting"
    run.begin()
    assert (run.path / "overrides.yaml").read_text() == "- seed=0\n"
    environment = run.read_json("environment.json")
    assert environment["packages"]["torch"].startswith("2.")
    assert environment["pets"] == code_version()
    assert run.status["state"] == "running"


def test_a_second_run_never_takes_a_directory(tmp_path: Path) -> None:
    RunDir.prepare(tmp_path / "r", {}, [])
    with pytest.raises(RunError, match="already contains a run"):
        RunDir.prepare(tmp_path / "r", {}, [])


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunDir.prepare(tmp_path / "r", {}, [])
    assert not run.held()
    run.claim()
    assert RunDir.open(run.path).held()
    code = f"from pets.run_dir import RunDir; RunDir.open({str(run.path)!r}).claim()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "is being trained by another process" in result.stderr


def test_a_run_whose_process_died_is_interrupted(tmp_path: Path) -> None:
    run = RunDir.prepare(tmp_path / "r", {}, [])
    assert run.state == "waiting"
    code = (
        "import os, sys; from pets.run_dir import RunDir; "
        f"run = RunDir.open({str(run.path)!r}); run.begin(); "
        "print(RunDir.open(run.path).state); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert (result.returncode, result.stdout) == (-signal.SIGKILL, b"running\n")
    assert (run.status["state"], run.state) == ("running", "interrupted")
    run.begin()
    assert run.state == "running"


def test_other_folders_and_unfinished_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere: is not a run directory \(no such folder\)"):
        RunDir.open(tmp_path / "nowhere")
    with pytest.raises(
        RunError, match=r"^run=hf-hub:a/b: is a model on the hub, which only pets pr"
    ):
        RunDir.open_finished("hf-hub:a/b")
    with pytest.raises(RunError, match=r"is not a run directory \(has no config\.yaml\)"):
        RunDir.open(tmp_path)
    run = RunDir.prepare(tmp_path / "r", {}, [])
    run.update_status(stage="head", epoch=1, epochs=4)
    with pytest.raises(
        RunError, match=r"is not finished \(state waiting, stage head, 1 of 4 epochs\)"
    ):
        RunDir.open_finished(run.path)
    run.finish({"test": {}})
    assert RunDir.open_finished(run.path).status["state"] == "finished"
    (run.path / "status.json").write_text("{")
    with pytest.raises(RunError, match=r"status\.json: cannot be read"):
        RunDir.open_finished(run.path)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("environment.json", {"folder": 5}, "folder=5: expected text"),
        ("data.json", {"train": 8, "test": "1e9"}, "test=1e9: expected a whole number"),
        ("data.json", {"valid": []}, "valid=[]: expected a whole number"),
        ("data.json", {"classes": "cat"}, "classes=cat: expected a valid list"),
        ("data.json", {"fingerprint": 7}, "fingerprint=7: expected text"),
        ("status.json", {"state": 1}, "state=1: expected text"),
        ("status.json", {"seconds": 3}, "seconds=3: expected keys with values"),
        ("status.json", {"seconds": {"head": "x"}}, "seconds.head=x: expected a number"),
        ("status.json", {"results": []}, "results=[]: expected keys with values"),
        ("status.json", {"results": {"test": 1}}, "results.test=1: expected keys with values"),
        (
            "status.json",
            {"results": {"valid": {"error_rate": "low"}}},
            "results.valid.error_rate=low: expected a number",
        ),
        ("status.json", {"speed": {"head": 3}}, "speed.head=3: expected keys with values"),
        ("eval/test_last.json", {"photos": "many"}, "photos=many: expected a whole number"),
        (
            "interpret/test/summary.json",
            {"most_confused": [["cat", "dog", "often"]]},
            "most_confused.0.2=often: expected a whole number",
        ),
    ],
)
def test_values_of_another_type_are_refused_where_they_are_read(
    tmp_path: Path, name: str, values: dict[str, Any], reason: str
) -> None:
    run = RunDir.prepare(tmp_path / "r", {}, [])
    (run.path / name).parent.mkdir(parents=True, exist_ok=True)
    run.write_json(name, values)
    with pytest.raises(RunError) as raised:
        run.read_json(name)
    assert str(raised.value).startswith(f"{run.path / name}: {reason}; the file was changed")
    assert "\n" not in str(raised.value)


def test_values_of_these_types_are_read_unchanged(tmp_path: Path) -> None:
    run = RunDir.prepare(tmp_path / "r", {}, [])
    results = {"photos": 8, "accuracy": 1, "per_class": {"cat": None, "dog": 0.5}, "own": "x"}
    run.finish({"test": results})
    run.add_seconds("head", 2)
    assert (run.status["results"], run.status["seconds"]) == ({"test": results}, {"head": 2})
    run.write_json("data.json", {"train": 3})
    assert run.read_json("data.json") == {"train": 3}


def test_data_is_found_from_where_the_run_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here/photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    run = RunDir.prepare(tmp_path / "r", {}, [])
    run.begin()
    assert run.root("photos") == Path("photos")
    monkeypatch.chdir(tmp_path)
    assert run.root("photos") == tmp_path / "here/photos"


def test_status_is_replaced_atomically(tmp_path: Path) -> None:
    run = RunDir.prepare(tmp_path / "r", {}, [])
    run.update_status(stage="head")
    assert json.loads((run.path / "status.json").read_text())["stage"] == "head"
    assert not list(run.path.glob(".*.part"))


def test_a_run_with_code_of_its_own_is_typed_with_trust(tmp_path: Path) -> None:
    values = train_config().model_dump(by_alias=True, mode="json")
    run = RunDir.prepare(tmp_path / "usual", values, [])
    assert run.as_typed() == f"run={run.path}"
    values["optimizer"] = {"_target_": "timm.optim.Lamb"}
    run = RunDir.prepare(tmp_path / "own", values, [])
    assert run.as_typed() == f"run={run.path} trust=true"


def test_a_config_of_another_version_is_named(tmp_path: Path) -> None:
    values = train_config().model_dump(by_alias=True, mode="json")
    assert RunDir.prepare(tmp_path / "good", values, []).train_config == train_config()
    del values["lr_finder"]
    run = RunDir.prepare(tmp_path / "old", values, [])
    version = re.escape(code_version())
    expected = r"does not fit this version of pets \(missing from the config: lr_finder\); it was"
    with pytest.raises(RunError, match=rf"config\.yaml: {expected} written by {version}") as caught:
        _ = run.train_config
    assert "\n" not in str(caught.value)
