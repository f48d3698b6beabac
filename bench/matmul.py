"""How fast these cores multiply large float32 matrices: the limit that a network's layers share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

ROWS, SIDE, TIMES = 8192, 512, 25


@torch.inference_mode()
def main() -> None:
    """Print one line of JSON: GFLOP/s of the fastest multiplication."""
    a, b = torch.rand(ROWS, SIDE), torch.rand(SIDE, SIDE)
    # The same product as a convolution: another library computes it, on some processors faster.
    photos = a.view(-1, 16, 16, SIDE).permute(0, 3, 1, 2)
    kernels = b.T.reshape(SIDE, SIDE, 1, 1).contiguous(memory_format=torch.channels_last)
    seconds = min(fastest(lambda: torch.mm(a, b)), fastest(lambda: F.conv2d(photos, kernels)))
    print(json.dumps(2 * ROWS * SIDE**2 / seconds / 1e9), flush=True)


def fastest(work: Callable[[], Any]) -> float:
    """Seconds of the quickest of many calls: what other programs take is not in it."""
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
