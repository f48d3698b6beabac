"""What Lightning needs to know about the ranks; no process is started here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric.plugins import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pets.distributed.process_group import reduce
from pets.distributed.ranks import ranks, ranks_of
from pets.errors import ConfigError
from pets.system.devices import device_type


def cluster_environment(values: Mapping[str, Any]) -> ClusterEnvironment:
    """Return the environment that Lightning reads its rank from: torchrun's variables.

    Lightning's own detection mistakes any process inside a batch script for a Slurm task, and
    otherwise starts processes by running the command line again.
    """
    return TorchElasticEnvironment() if ranks_of(values) > 1 else LightningEnvironment()


def ddp_kwargs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Trainer's arguments with the DDP strategy if they need several ranks."""
    if ranks_of(values) == 1:
        return {**values, "strategy": "auto"}
    unused = values.get("strategy", "auto").endswith("unused_parameters_true")
    # Do not copy buffers from rank 0 before every batch: ranks have different numbers of batches
    # in validation, and `share_statistics` averages the buffers instead.
    ddp = DDPStrategy(find_unused_parameters=unused, broadcast_buffers=False)
    return {**values, "strategy": ddp}


def single_process(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Trainer's arguments for a pass of this rank only, on its own device."""
    here = ranks()
    if here.world == 1:
        return dict(values)
    devices = values.get("devices")
    own = devices[here.local] if isinstance(devices, list | tuple) else here.local
    on_cpu = device_type(values.get("accelerator", "auto")) == "cpu"
    by_itself = {"devices": 1 if on_cpu else [own], "num_nodes": 1, "sync_batchnorm": False}
    return {**values, **by_itself, "strategy": "auto"}


def share_statistics(network: nn.Module) -> None:
    """Average the running statistics of trainable batch norms over the ranks.

    The ranks' batches differ; with this, all ranks have the same network after every batch. timm's
    `distribute_bn` would also average frozen norms, one by one, and round them.
    """
    own = [
        statistics
        for norm in network.modules()
        if isinstance(norm, _BatchNorm) and not isinstance(norm, nn.SyncBatchNorm)
        if norm.training and norm.track_running_stats
        for statistics in (norm.running_mean, norm.running_var)
        if statistics is not None
    ]
    if own:
        means = torch.split(reduce(torch.cat(own), "mean"), [len(values) for values in own])
        for statistics, mean in zip(own, means, strict=True):
            statistics.copy_(mean)


def check_sync_batchnorm(values: Mapping[str, Any]) -> None:
    """Raise ConfigError if batch norms cannot be computed over all ranks."""
    device = device_type(values.get("accelerator", "auto"))
    if values.get("sync_batchnorm") and (device != "cuda" or ranks().world == 1):
        where = "one device" if ranks().world == 1 else device
        raise ConfigError(
            f"trainer.sync_batchnorm=true: needs several GPUs, this is {where}; expected false"
        )
