"""bench/gpu.py in small on the CPU: what it will do on a GPU, where nobody has time to mend it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_parts_run_and_one_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    # `predict` names photos by a run that `train` has not made here.
    args = ["--small", "--device", "cpu", "--parts", "pass", "predict", "--work", str(tmp_path)]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "bench/gpu.py"), "--out", str(tmp_path / "out"), *args],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "not as they should be: predict" in ended.stderr, ended.stdout + ended.stderr
    assert ended.returncode == 1
    result = json.loads((tmp_path / "out/gpu.json").read_text())
    parts = result["parts"]
    assert parts["pass"]["ended"] == "finished"
    assert parts["predict"]["ended"] == "failed, exit code 1"
    speeds = [row["what"] for row in parts["pass"]["rows"] if row.get("speed", 0) > 0]
    assert speeds == [
        "resnet34: the backbone alone, forward",
        "resnet34: feature pass (precompute) from files",
        "resnet34: warm head, on activations",
        "resnet34: warm head, bare step",
        "resnet34: predict's network, float32",
        "resnet34: predict from files",
    ]
    shown = (tmp_path / "out/gpu.md").read_text()
    assert ended.stdout.rstrip().endswith(shown.rstrip())
    assert "- **predict: failed, exit code 1**" in shown
    assert "is not a run directory" in (tmp_path / "out/gpu.log").read_text()
    assert not list(tmp_path.glob("pets-gpu-*"))
