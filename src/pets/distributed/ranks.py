"""Which of the processes of one job this is. They are started from outside, one a device: by
torchrun, by srun, or by whoever sets the same environment variables. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pets.errors import ConfigError

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")


@dataclass(frozen=True)
class Ranks:
    """This process among the `world` processes of one job.

    `rank` counts over all machines, `local` over the `local_world` processes of this one. The
    ranks meet at `address` and `port`, on rank 0's machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def writer(self) -> bool:
        """Whether it is the one that writes files and speaks: rank 0."""
        return self.rank == 0

    @property
    def leader(self) -> bool:
        """Whether it makes for the other ranks of its machine what all of them need."""
        return self.local == 0

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which torchrun tells a process that it is this rank."""
        values = (self.rank, self.world, self.local, self.address, self.port)
        return {
            **dict(zip(_TORCHRUN, map(str, values), strict=True)),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "GROUP_RANK": str(self.rank // self.local_world),
        }


def ranks() -> Ranks:
    """What the environment says: torchrun's variables, or those of a step of srun.

    Raises ConfigError where some of torchrun's are missing.
    """
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        missing = [name for name in _TORCHRUN if name not in env]
        if missing and _number("WORLD_SIZE") > 1:
            raise ConfigError(
                f"RANK={env['RANK']}, WORLD_SIZE={env['WORLD_SIZE']}, but {missing[0]} is not in "
                f"the environment; expected all of {', '.join(_TORCHRUN)}, as torchrun sets them"
            )
        return _of_torchrun() if not missing else Ranks()
    # In a batch script without srun Slurm counts the tasks, too, but there is one process alone.
    if "SLURM_STEP_ID" in env and int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return _of_slurm()
    return Ranks()


def as_rank(rank: int, world: int, port: int, address: str = "127.0.0.1") -> dict[str, str]:
    """The environment variables of a process that is to be a rank of a job on one machine."""
    return Ranks(rank, world, rank, world, address, port).environment


def ranks_of(trainer: Mapping[str, Any]) -> int:
    """How many processes the `trainer` group needs. Raises ConfigError where it does not say."""
    return _devices_of(trainer) * int(trainer.get("num_nodes") or 1)


def check_ranks(trainer: Mapping[str, Any], words: str = "") -> None:
    """There is a process for each of the trainer's devices. Raises ConfigError, saying what to type
    where there is none: `pets train` with these words, or with the devices."""
    strategy = trainer.get("strategy", "auto")
    if strategy not in _STRATEGIES:
        raise ConfigError(
            f"trainer.strategy={strategy}: expected {' or '.join(_STRATEGIES)}: every device has "
            "the whole network"
        )
    needed, started = ranks_of(trainer), ranks().world
    if needed == started:
        return
    devices, nodes = _devices_of(trainer), int(trainer.get("num_nodes") or 1)
    asked = f"trainer.devices={_typed(trainer.get('devices', 1))}"
    asked += f" trainer.num_nodes={nodes}" if nodes > 1 else ""
    if started > 1:
        raise ConfigError(
            f"{asked}: {started} processes were started for {needed} devices; expected one a device"
        )
    there = f"--nnodes {nodes} --rdzv-backend c10d --rdzv-endpoint <machine>:29400"
    raise ConfigError(
        f"{asked}: needs {needed} processes, one a device; type "
        f"torchrun {there if nodes > 1 else '--standalone'} --nproc-per-node {devices} "
        f"-m pets train {words or f'{asked} ...'}"
    )


def check_alone(command: str) -> None:
    """Raises ConfigError where a command that is one process was started as several."""
    world = ranks().world
    if world > 1:
        raise ConfigError(
            f"pets {command}: is one process, {world} were started; leave torchrun or srun out"
        )


def _devices_of(trainer: Mapping[str, Any]) -> int:
    """The devices on one machine."""
    devices = trainer.get("devices", 1)
    if isinstance(devices, list | tuple) and devices:
        return len(devices)
    if isinstance(devices, int) and not isinstance(devices, bool) and devices > 0:
        return devices
    raise ConfigError(
        f"trainer.devices={devices}: expected how many, or a list with the numbers of those to use"
    )


def _of_torchrun() -> Ranks:
    rank, world, local, port = map(_number, ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"))
    local_world = _number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in os.environ else world
    return Ranks(rank, world, local, local_world, os.environ["MASTER_ADDR"], port)


def _of_slurm() -> Ranks:
    env = os.environ
    first = env.get("SLURM_STEP_NODELIST", "127.0.0.1")
    # node[07-09,12],other3: the first of them is node07.
    first = re.sub(r"\[(\w+)[^]]*\]", r"\1", first).split(",")[0]
    # Steps of one job, and jobs on one machine, must not meet at the same port.
    step = _number("SLURM_JOB_ID") * 101 + _number("SLURM_STEP_ID")
    port = int(env.get("MASTER_PORT", 20_000 + step % 12_000))
    local_world = re.match(r"\d+", env.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    return Ranks(
        rank=_number("SLURM_PROCID"),
        world=_number("SLURM_STEP_NUM_TASKS"),
        local=_number("SLURM_LOCALID"),
        local_world=int(local_world[0]) if local_world else 1,
        address=env.get("MASTER_ADDR", first),
        port=port,
    )


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{name}={os.environ.get(name)}: expected a whole number in the environment, as "
            "torchrun and srun set it"
        ) from error


def _typed(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)
