"""The rank of a process, and which commands and configs are refused on several ranks."""

import pytest

from pets.distributed.ranks import (
    Ranks,
    as_rank,
    check_ranks,
    check_single_process,
    ranks,
    ranks_of,
)
from pets.errors import ConfigError
from pets.seeding import derive, derive_for_rank
from tests.conftest import train_config

_NAMES = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "SLURM_STEP_ID",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)


def given(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_one_process_is_rank_0_of_one() -> None:
    assert ranks() == Ranks(rank=0, world=1, local=0, local_world=1)
    assert ranks().writer
    assert ranks().leader


def test_torchruns_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, as_rank(1, 2, 29_500))
    assert ranks() == Ranks(1, 2, 1, 2, "127.0.0.1", 29_500)
    assert not ranks().writer
    # The first process of a second machine.
    given(monkeypatch, {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "node1"})
    assert ranks() == Ranks(2, 4, 0, 2, "node1", 29_500)
    assert (ranks().writer, ranks().leader) == (False, True)
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(
        ConfigError, match="MASTER_PORT is not in the environment; expected it as torchrun"
    ):
        ranks()
    given(monkeypatch, {"MASTER_PORT": "http"})
    with pytest.raises(ConfigError, match="MASTER_PORT=http: expected a whole number"):
        ranks()


def test_a_step_of_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    step = {
        "SLURM_JOB_ID": "1234", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURM_STEP_NODELIST": "gpu[07-08],other3",
    }  # fmt: skip
    given(monkeypatch, step)
    assert ranks() == Ranks(3, 4, 1, 2, "gpu07", ranks().port)
    first = ranks().port
    given(monkeypatch, {"SLURM_STEP_ID": "1"})
    assert ranks().port != first
    # A batch script without srun has Slurm's numbers of tasks, but is one process.
    monkeypatch.delenv("SLURM_STEP_ID")
    assert ranks() == Ranks()


def test_one_process_per_device_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [ranks_of({"devices": d}) for d in (1, 4, [2, 3])] == [1, 4, 2]
    assert ranks_of({"devices": 2, "num_nodes": 2}) == 4
    check_ranks(train_config().trainer)
    with pytest.raises(ConfigError) as refused:
        check_ranks({"devices": [0, 2]})
    assert str(refused.value) == (
        "trainer.devices=[0,2]: needs 2 processes, one per device; run torchrun --standalone "
        "--nproc-per-node 2 -m pets train trainer.devices=[0,2] ..."
    )
    with pytest.raises(ConfigError, match=r"needs 4 .*--nnodes 2 .* trainer.num_nodes=2 \.\.\.$"):
        check_ranks({"devices": 2, "num_nodes": 2})
    given(monkeypatch, as_rank(0, 2, 29_500))
    check_ranks({"devices": 2, "strategy": "ddp"})
    with pytest.raises(ConfigError, match="2 processes were started for 1 devices"):
        check_ranks({"devices": 1})
    with pytest.raises(
        ConfigError, match="pets eval: runs as a single process, but 2 were started"
    ):
        check_single_process("eval")


@pytest.mark.parametrize("devices", ["auto", -1, 0, True, []])
def test_devices_must_be_a_number_or_a_list(devices: object) -> None:
    with pytest.raises(ConfigError, match="expected a number, or a list"):
        check_ranks({"devices": devices})


def test_strategies_that_start_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.strategy=ddp_spawn: expected auto or ddp"):
        check_ranks({"devices": 1, "strategy": "ddp_spawn"})


def test_each_rank_has_its_own_random_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = derive_for_rank(7, "noise", 1)
    assert alone == derive(7, "noise", 1)
    given(monkeypatch, as_rank(0, 2, 29_500))
    assert derive_for_rank(7, "noise", 1) == alone
    given(monkeypatch, as_rank(1, 2, 29_500))
    assert derive_for_rank(7, "noise", 1) != alone
