"""How many photos a second `pets predict` names, beside the bare forward pass on a constant batch.

python bench/predict.py RUN SOURCE [--photos 256] [--batch 32] [--rounds 9] [--threads 0 1 2]

All are measured in turns in one process, so that a busy moment of the machine meets all of them; a
ratio is of times of one round. Prints the medians, and the quartiles of the ratios. On a busy
machine the ratio of CPU times says more: it has the work of reading in it, but nobody's waiting.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median, quantiles
from typing import NamedTuple

import torch

from pets.prediction.shards import blocks_of
from pets.prediction.sources import find_source
from pets.prediction.stream import Network, predict_blocks
from pets.run_dir import RunDir
from pets.system.cpu import keep_freed_memory
from pets.system.devices import usable_device
from pets.training.checkpoints import load_run
from pets.training.speed import Speed


class Took(NamedTuple):
    """Seconds on the clock, and of all cores."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Took:
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, began: Took) -> Took:
        return Took(self.wall - began.wall, self.cpu - began.cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("source")
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()

    keep_freed_memory()
    network = Network(load_run(RunDir.open_finished(given.run)).model, usable_device("auto"))
    files = find_source(given.source).files[: given.photos]
    constant = torch.zeros((given.batch, 1, 3, *network.model.size), dtype=torch.uint8)

    def bare() -> Took:
        began = Took.now()
        for start in range(0, len(files), given.batch):
            network(constant[: len(files) - start])[0].cpu()
        return Took.now() - began

    def predict(threads: int) -> Took:
        began = Took.now()
        work = blocks_of(files, len(files))
        for _ in predict_blocks(network, work, given.batch, 1, 1.0, threads, Speed()):
            pass
        return Took.now() - began

    bare()
    took: dict[int, list[Took]] = {threads: [] for threads in given.threads}
    alone, load = [], []
    for _ in range(given.rounds):
        alone.append(bare())
        for threads in given.threads:
            took[threads].append(predict(threads))
        load.append(os.getloadavg()[0])
    rate = len(files) / median(one.wall for one in alone)
    print(
        f"{network.model.config.name}, {len(files)} photos, {network.model.size}, "
        f"{torch.get_num_threads()} threads on {network.device}, load {min(load):.1f} to "
        f"{max(load):.1f}\nbare forward pass: {rate:.1f} photos/s"
    )
    for threads, seconds in took.items():
        pairs = list(zip(alone, seconds, strict=True))
        wall = quantiles(a.wall / s.wall for a, s in pairs)
        cpu = quantiles(a.cpu / s.cpu for a, s in pairs)
        print(
            f"{threads} threads read: {len(files) / median(s.wall for s in seconds):.1f} photos/s, "
            f"{wall[1]:.2f} of it ({wall[0]:.2f} to {wall[2]:.2f}); "
            f"by CPU time {cpu[1]:.2f} ({cpu[0]:.2f} to {cpu[2]:.2f})"
        )


if __name__ == "__main__":
    main()
