"""How torch's threads wait, as reported by OpenMP when torch is loaded."""

import os
import subprocess
import sys

import pytest

from pets.system.cpu import hide_warnings_of_ranks


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is Linux's")
@pytest.mark.parametrize(
    ("typed", "spins"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "0"),
    ],
)
def test_threads_spin_briefly_unless_the_user_has_chosen(typed, spins):
    unset = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", "OMP_NUM_THREADS": "1", **typed}
    loaded = subprocess.run(
        [sys.executable, "-c", "import pets, torch"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"GOMP_SPINCOUNT = '{spins}'" in loaded.stderr


@pytest.mark.parametrize(
    ("typed", "level"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1"}, None),
        ({"WORLD_SIZE": "2"}, "ERROR"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "ERROR"),
        ({"WORLD_SIZE": "2", "TORCH_CPP_LOG_LEVEL": "INFO"}, "INFO"),
    ],
)
def test_torchs_own_warnings_are_hidden_in_ranks(typed, level, monkeypatch):
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "TORCH_CPP_LOG_LEVEL"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    for name, value in typed.items():
        monkeypatch.setenv(name, value)
    hide_warnings_of_ranks()
    assert os.environ.get("TORCH_CPP_LOG_LEVEL") == level
