"""The resources requested from Slurm, and which settings are refused; runs without Slurm."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from pets.config import SlurmSettings
from pets.errors import ConfigError, PetsError
from pets.sweep.slurm import SlurmLauncher, allocation, sbatch_parameters
from pets.system.installation import conf_dir
from tests.conftest import need, train_config

DEFAULTS: dict[str, Any] = yaml.safe_load(
    (conf_dir() / "hydra/launcher/slurm.yaml").read_text(encoding="utf-8")
)
del DEFAULTS["_target_"]


def settings(**changes: Any) -> SlurmSettings:
    return SlurmLauncher(**DEFAULTS | changes).settings


def trainer(*overrides: str) -> dict[str, Any]:
    return train_config(*overrides).trainer


def given(nodes: int, tasks: int, gpus: int | None) -> dict[str, int]:
    allocated = {"nodes": nodes, "ntasks_per_node": tasks}
    return allocated if gpus is None else allocated | {"gpus_per_node": gpus}


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        (("trainer.accelerator=cpu",), given(1, 1, None)),
        (("trainer.accelerator=gpu",), given(1, 1, 1)),
        (("trainer.accelerator=gpu", "trainer.devices=2"), given(1, 2, 2)),
        (("trainer=slurm_ddp", "trainer.devices=8", "trainer.num_nodes=2"), given(2, 8, 8)),
    ],
)
def test_a_job_is_allocated_its_trainers_devices(
    overrides: tuple[str, ...], needed: dict[str, int]
) -> None:
    assert allocation(settings(), trainer(*overrides)) == needed


def test_gpus_may_be_requested_by_sbatch_options() -> None:
    wanted = settings(gpus_per_node=None, sbatch={"gres": "gpu:a100:2"})
    allocated = allocation(wanted, trainer("trainer.devices=2"))
    assert allocated == given(1, 2, None)
    assert sbatch_parameters(wanted, allocated, "s")["additional_parameters"] == {
        "requeue": True, "gres": "gpu:a100:2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            (),
            "trainer.accelerator=auto: Slurm has to know whether a job needs GPUs; expected gpu "
            "or cpu",
        ),
        (
            ("trainer.accelerator=gpu", "trainer.devices=[0,2]"),
            "trainer.devices=[0, 2]: Slurm chooses the devices; expected a number of them",
        ),
    ],
)
def test_an_invalid_allocation_is_one_line(overrides: tuple[str, ...], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        allocation(settings(), trainer(*overrides))
    assert str(caught.value) == line


def test_invalid_settings_are_reported_with_their_full_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        settings(time=True, gpus_per_node=2, cpus_per_task=0)
    assert str(caught.value).splitlines() == [
        "hydra.launcher.gpus_per_node=2: expected auto or null",
        "hydra.launcher.cpus_per_task=0: expected a number of at least 1",
        "hydra.launcher.time=True: expected minutes, or Slurm's format such as '1-12:00:00'",
    ]


def test_all_settings_are_passed_to_sbatch() -> None:
    need(find_spec("submitit") is not None, "submitit is not installed")
    from submitit.slurm.slurm import _make_sbatch_string

    wanted = settings(
        partition="gpu", account="pets", qos="low", mem="64G", time="1-12:00:00", jobs=3,
        setup=["module load cuda"], sbatch={"constraint": "a100", "exclusive": True},
    )  # fmt: skip
    asked = sbatch_parameters(wanted, given(2, 8, 8), "a sweep")
    text = _make_sbatch_string("run", "logs", map_count=5, **asked)
    for option in (
        "partition=gpu", "account=pets", "qos=low", "mem=64G", "time=1-12:00:00", "array=0-4%3",
        "nodes=2", "ntasks-per-node=8", "gpus-per-node=8", "cpus-per-task=4", "signal=USR2@120",
        "constraint=a100", "exclusive", "requeue", "open-mode=append", "job-name='a sweep'",
    ):  # fmt: skip
        assert f"#SBATCH --{option}\n" in text
    assert "\nmodule load cuda\n" in text
    assert " --kill-on-bad-exit=1 --cpus-per-task=4 run\n" in text
    asked = sbatch_parameters(settings(requeue=False), given(1, 1, None), "s")
    text = _make_sbatch_string("run", "logs", **asked)
    assert "#SBATCH --no-requeue\n" in text
    assert "gpus" not in text


def test_missing_slurm_or_submitit_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    launcher = SlurmLauncher(**DEFAULTS)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PetsError, match=r"^hydra/launcher=slurm: there is no sbatch here; "):
        launcher.start()
    for name in ("sbatch", "srun", "squeue"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(PetsError, match=r"needs the package submitit; .*\[slurm\]"):
        launcher.start()


def test_launchers_are_found_without_importing_submitit_or_torch() -> None:
    code = (
        "import sys, hydra_plugins.pets_sweep; "
        "assert not {'torch', 'submitit'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
