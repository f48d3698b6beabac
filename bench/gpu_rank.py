"""`pets` as one of several ranks that share one device, which NCCL and Lightning refuse: gradients
go through gloo. For gpu_checks.py: torchrun ... bench/gpu_rank.py cuda train trainer.devices=2"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy

import pets.training.trainer
from pets.cli.main import main
from pets.distributed.lightning import ddp_kwargs
from pets.distributed.ranks import ranks_of

DEVICE = sys.argv.pop(1)


def on_one_device(values: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's arguments with all ranks on the first device."""
    count = ranks_of(values)
    if count == 1:
        return ddp_kwargs(values)
    device = torch.device("cuda", 0) if DEVICE == "cuda" else torch.device("cpu")
    strategy = DDPStrategy(
        parallel_devices=[device] * count, process_group_backend="gloo", broadcast_buffers=False
    )
    devices = [0] if DEVICE == "cuda" else 1
    return {**values, "accelerator": DEVICE, "devices": devices, "strategy": strategy}


if __name__ == "__main__":
    pets.training.trainer.ddp_kwargs = on_one_device
    main()
