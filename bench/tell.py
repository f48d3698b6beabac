"""What a side tells of its training: used alike by all of them, so it needs torch alone."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version

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
    with FlopCounterMode(display=False) as step:
        model(photos).sum().backward()
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        model(photos)
    return step.get_total_flops() / len(photos), forward.get_total_flops() / len(photos)
