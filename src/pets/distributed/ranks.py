"""The rank of this process in its job.

Ranks are started externally, one process per device: by torchrun, by srun, or by anything that sets
the same environment variables. Imports no torch.
"""

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

    `rank` counts over all machines, `local` over the `local_world` processes of this machine. The
    rendezvous is at `address` and `port`, on rank 0's machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def writer(self) -> bool:
        """Whether this rank writes files and logs messages: rank 0."""
        return self.rank == 0

    @property
    def leader(self) -> bool:
        """Whether this rank does the work that all ranks of its machine share: local rank 0."""
        return self.local == 0

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that torchrun sets for this rank."""
        values = (self.rank, self.world, self.local, self.address, self.port)
        return {
            **dict(zip(_TORCHRUN, map(str, values), strict=True)),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "GROUP_RANK": str(self.rank // self.local_world),
        }


def ranks() -> Ranks:
    """Return this process's rank, from torchrun's or srun's variables; else a single process.

    Raises ConfigError if some of torchrun's variables are missing.
    """
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        world = _number("WORLD_SIZE")
        if world == 1:
            return Ranks()
        local_world = _number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in env else world
        numbers = _number("RANK"), world, _number("LOCAL_RANK"), local_world
        return Ranks(*numbers, _text("MASTER_ADDR"), _number("MASTER_PORT"))
    # In a batch script without srun, Slurm also sets the number of tasks for a single process.
    step = "SLURM_STEP_ID" in env and int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    return _of_slurm() if step else Ranks()


def _of_slurm() -> Ranks:
    env = os.environ
    # node[07-09,12],other3: the first of them is node07.
    nodes = env.get("SLURM_STEP_NODELIST", "127.0.0.1")
    first = re.sub(r"\[(\w+)[^]]*\]", r"\1", nodes).split(",")[0]
    # Steps of one job, and jobs on one machine, must not share a port.
    step = _number("SLURM_JOB_ID") * 101 + _number("SLURM_STEP_ID")
    local_world = re.match(r"\d+", env.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    return Ranks(
        rank=_number("SLURM_PROCID"),
        world=_number("SLURM_STEP_NUM_TASKS"),
        local=_number("SLURM_LOCALID"),
        local_world=int(local_world[0]) if local_world else 1,
        address=env.get("MASTER_ADDR", first),
        port=int(env.get("MASTER_PORT", 20_000 + step % 12_000)),
    )


def _text(name: str) -> str:
    if name in os.environ:
        return os.environ[name]
    raise ConfigError(f"{name} is not in the environment; expected it as torchrun and srun set it")


def _number(name: str) -> int:
    try:
        return int(_text(name))
    except ValueError as error:
        raise ConfigError(
            f"{name}={_text(name)}: expected a whole number in the environment, as torchrun and "
            "srun set it"
        ) from error


def as_rank(rank: int, world: int, port: int, address: str = "127.0.0.1") -> dict[str, str]:
    """Return the environment variables for a rank of a job on one machine."""
    return Ranks(rank, world, rank, world, address, port).environment


def ranks_of(trainer: Mapping[str, Any]) -> int:
    """Return how many processes the `trainer` group needs. Raises ConfigError if it is unclear."""
    return _devices_of(trainer) * _nodes_of(trainer)


def _devices_of(trainer: Mapping[str, Any]) -> int:
    """The devices on one machine."""
    devices = trainer.get("devices", 1)
    if isinstance(devices, list | tuple) and devices:
        return len(devices)
    if isinstance(devices, int) and not isinstance(devices, bool) and devices > 0:
        return devices
    raise ConfigError(
        f"trainer.devices={devices}: expected a number, or a list with the indices of those to use"
    )


def _nodes_of(trainer: Mapping[str, Any]) -> int:
    """The number of machines."""
    nodes = trainer.get("num_nodes") or 1
    if isinstance(nodes, int) and not isinstance(nodes, bool) and nodes > 0:
        return nodes
    raise ConfigError(f"trainer.num_nodes={nodes}: expected a whole number of at least 1")


def check_ranks(trainer: Mapping[str, Any], args: str = "") -> None:
    """Check that there is a process for each of the trainer's devices.

    Raises:
        ConfigError: There is not; the message contains the command to run, `pets train` with
            `args` or with the devices.
    """
    strategy = trainer.get("strategy", "auto")
    if strategy not in _STRATEGIES:
        raise ConfigError(
            f"trainer.strategy={strategy}: expected {' or '.join(_STRATEGIES)}: every device has "
            "a copy of the whole network"
        )
    needed, started = ranks_of(trainer), ranks().world
    if needed == started:
        return
    nodes = _nodes_of(trainer)
    asked = f"trainer.devices={trainer.get('devices', 1)}".replace(" ", "")
    asked += f" trainer.num_nodes={nodes}" if nodes > 1 else ""
    if started > 1:
        raise ConfigError(
            f"{asked}: {started} processes were started for {needed} devices; "
            "expected one per device"
        )
    several = f"--nnodes {nodes} --rdzv-backend c10d --rdzv-endpoint <machine>:29400"
    raise ConfigError(
        f"{asked}: needs {needed} processes, one per device; run "
        f"torchrun {several if nodes > 1 else '--standalone'} "
        f"--nproc-per-node {_devices_of(trainer)} -m pets train {args or f'{asked} ...'}"
    )


def check_single_process(command: str) -> None:
    """Raise ConfigError if a single-process command was started as several processes."""
    world = ranks().world
    if world > 1:
        raise ConfigError(
            f"pets {command}: runs as a single process, but {world} were started; "
            "run it without torchrun or srun"
        )
