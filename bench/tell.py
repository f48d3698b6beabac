"""What a side tells of its training: used alike by all of them, so it needs torch alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Told:
    """A side's own words about one training.

    `seconds` from the first photo's work to the end of the last validation; `photos` are trained
    on and validated on in an epoch; `flops` as `arithmetic` counts them, where that says anything.
    """

    seconds: float
    error: float
    photos: tuple[int, int]
    flops: tuple[float, float] | None
    threads: int
    versions: dict[str, str]

    def say(self) -> None:
        """Print it as the last line, which the comparison reads."""
        print(json.dumps(asdict(self)), flush=True)


def versions_of(*packages: str) -> dict[str, str]:
    """What the packages say of themselves in this environment."""
    return {name: version(name) for name in packages}


def arithmetic(model: nn.Module, size: int) -> tuple[float, float]:
    """FLOPs for one photo: of a training step (forward and backward), of a forward pass.

    Counted are convolutions and matrix multiplications, two for a multiplication with its
    addition. The backward pass goes as far as something trains, as in the side's own training.
    """
    # Shapes without numbers: counting costs next to nothing.
    model = copy.deepcopy(model).to("meta").train()
    photos = torch.empty(2, 3, size, size, device="meta")
    backward = {torch.ops.aten.convolution_backward: _of_backward}
    with FlopCounterMode(display=False, custom_mapping=backward) as step:
        model(photos).sum().backward()
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        model(photos)
    return step.get_total_flops() / len(photos), forward.get_total_flops() / len(photos)


def _of_backward(
    gradient: Sequence[int], _photos: Sequence[int], weight: Sequence[int], *others: Any, **_: Any
) -> int:
    """FLOPs of a convolution's backward pass: for each of its two gradients those of the forward
    pass. torch's own count takes every group of channels for all channels."""
    wanted = others[-1]  # of the photos, of the weight, of the bias
    return 2 * prod(gradient) * prod(weight[1:]) * sum(wanted[:2])
