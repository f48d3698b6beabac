"""A stopwatch for training epochs, used alike on both sides of the comparison."""

from __future__ import annotations

import json
import resource
import time
from importlib.metadata import version

import torch


class Laps:
    """Wall-clock and CPU seconds of each epoch, of all threads of this process."""

    def __init__(self) -> None:
        self.laps: list[tuple[float, float]] = []
        self._began = (0.0, 0.0)

    def start(self) -> None:
        """An epoch begins."""
        self._began = _now()

    def stop(self) -> None:
        """The epoch that was started last is over."""
        wall, cpu = _now()
        self.laps.append((wall - self._began[0], cpu - self._began[1]))

    def as_json(self, images: int, *packages: str) -> str:
        """One line for compare_speed.py: what it took, over which torch, on how many threads.

        `images` is how many an epoch trains on, `packages` whose versions are told.
        """
        # The first epoch also pays for compiling kernels, reading files and growing the heap.
        counted = self.laps[1:]
        return json.dumps(
            {
                "images": images * len(counted),
                "seconds": sum(wall for wall, _ in counted),
                "cpu_seconds": sum(cpu for _, cpu in counted),
                "threads": torch.get_num_threads(),
                "versions": {name: version(name) for name in (*packages, "torch", "torchvision")},
            }
        )


def _now() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime
