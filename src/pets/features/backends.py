"""What runs a network: torch as it is, torch's compiler, OpenVINO.

Each takes the network, in evaluation mode and on its device, and example photos (B, 3, h, w) beside
it, and gives a function of photos, for any number of them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from pets.errors import ConfigError
from pets.system.installation import install

Forward = Callable[[Tensor], Tensor]


class Refused(Exception):
    """Why there is no such engine here, and the way out where there is one."""


def check_engine(name: str, device: str) -> None:
    """Say before anything is read that an engine's package is missing, or its device another one.
    Raises ConfigError."""
    if name == "openvino":
        try:
            _need_openvino(device)
        except Refused as refused:
            raise ConfigError(f"precompute.engine=openvino: {refused}; expected auto") from refused


def _need_openvino(device: str) -> None:
    if device != "cpu":
        raise Refused(f"it computes on CPUs, the backbone is on {device}")
    if find_spec("openvino") is None:
        raise Refused(f"its package is not installed ({install('openvino')})")


def as_it_is(network: nn.Module, example: Tensor) -> Forward:
    """torch's own forward pass, a layer after the other."""
    return network


def compiled(network: nn.Module, example: Tensor) -> Forward:
    """Compiled for batches of the example's size alone: every other size would cost as much again.

    Smaller batches are filled up with zeros, larger ones are split.
    """
    # Frozen weights are packed for oneDNN: without it ResNet-34 runs at half of eager's speed.
    fast: Any = torch.compile(network, dynamic=False, options={"freezing": True})
    size = len(example)

    def forward(photos: Tensor) -> Tensor:
        maps = []
        for part in torch.split(photos, size):
            full = torch.zeros_like(example)
            full[: len(part)] = part
            maps.append(fast(full)[: len(part)])
        return torch.cat(maps)

    with torch.no_grad():
        forward(example)
    return forward


def openvino(network: nn.Module, example: Tensor) -> Forward:
    """Converted for OpenVINO, for batches of any size. Raises Refused off CPUs or without it."""
    _need_openvino(example.device.type)
    # OpenVINO reports its use over the net unless this package is missing: nobody was asked.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    any_batch = ov.PartialShape([-1, *example.shape[1:]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, on shapes that are the same for all photos
        # Two photos: a batch of one would be taken for a constant.
        two = example[:1].repeat(2, 1, 1, 1)
        model = ov.convert_model(network, example_input=two, input=[any_batch])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # its own choice is bfloat16 where the CPU has it
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # the loaders' processes need the cores too
    }
    fast = ov.compile_model(model, "CPU", settings)
    return lambda photos: torch.from_numpy(fast(photos.contiguous().numpy())[0])
