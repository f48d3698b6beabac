"""What Lightning is told about the ranks, and what it leaves to others: it starts no process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric.plugins import ClusterEnvironment
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.strategies import DDPStrategy
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pets.distributed.ranks import Ranks, ranks, ranks_of
from pets.errors import ConfigError
from pets.system.devices import device_type, share_threads


class OutsideRanks(ClusterEnvironment):
    """The ranks as `pets.distributed.ranks` sees them, for Lightning.

    Its own detection takes any process below a batch script for a task of Slurm, and starts
    processes by running the command line again where it finds none.
    """

    def __init__(self, here: Ranks) -> None:
        super().__init__()
        self.here = here

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.here.address

    @property
    def main_port(self) -> int:
        return self.here.port

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return self.here.world

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.here.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.here.local

    def node_rank(self) -> int:
        return self.here.rank // self.here.local_world


def over_ranks(values: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's arguments with the strategy for as many ranks as they ask for."""
    chosen = dict(values)
    if ranks_of(values) == 1:
        return chosen | {"strategy": "auto"}
    strategy = chosen.get("strategy", "auto")
    # Buffers are not copied from rank 0 before every batch: ranks have different numbers of them
    # in validation, and `share_statistics` does better.
    chosen["strategy"] = DDPStrategy(
        find_unused_parameters=strategy.endswith("unused_parameters_true"), broadcast_buffers=False
    )
    return chosen


def alone(values: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's arguments for a pass that this rank makes by itself, on its own device."""
    here = ranks()
    if here.world == 1:
        return dict(values)
    devices = values.get("devices")
    own = devices[here.local] if isinstance(devices, list | tuple) else here.local
    on_cpu = device_type(values.get("accelerator", "auto")) == "cpu"
    by_itself = {"devices": 1 if on_cpu else [own], "num_nodes": 1, "sync_batchnorm": False}
    return {**values, **by_itself, "strategy": "auto"}


def begin_rank() -> None:
    """This process as a rank: rank 0 alone logs and writes, and each has its share of the cores."""
    here = ranks()
    rank_zero_only.rank = here.rank  # type: ignore[attr-defined]
    if here.local_world > 1 and "OMP_NUM_THREADS" not in os.environ:
        share_threads(here.local_world)


def share_statistics(network: nn.Module) -> None:
    """The running statistics of batch norms that move become their mean over the ranks, whose
    batches were different ones; so all ranks have the same network after every batch."""
    own = [
        statistics
        for norm in network.modules()
        if isinstance(norm, _BatchNorm) and not isinstance(norm, nn.SyncBatchNorm)
        if norm.training and norm.track_running_stats
        for statistics in (norm.running_mean, norm.running_var)
        if statistics is not None
    ]
    if not own:
        return
    flat = torch.cat(own)
    distributed.all_reduce(flat)
    flat /= ranks().world
    for statistics, mean in zip(own, torch.split(flat, [len(s) for s in own]), strict=True):
        statistics.copy_(mean)


def check_sync_batchnorm(values: Mapping[str, Any]) -> None:
    """Raises ConfigError where batch norms cannot be computed over all ranks."""
    if not values.get("sync_batchnorm"):
        return
    device = device_type(values.get("accelerator", "auto"))
    if device != "cuda":
        raise ConfigError(
            f"trainer.sync_batchnorm=true: torch computes batch norms over all ranks on GPUs "
            f"alone, this is {device}; expected false"
        )
    if ranks().world == 1:
        raise ConfigError(
            "trainer.sync_batchnorm=true: has no effect on one device; expected false"
        )
