"""A sweep that trains backbones: how many jobs at once, on a machine that is free or busy.

python bench/sweep_jobs.py --data <folder of the drawn pets> [--jobs 1 2 4] [--rounds 2]

In every round each number of jobs runs the same sweep once, in shuffled order: first alone, then
beside as many busy processes as there are cores. The threads are shared out among the jobs.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from pets.system.cpu import available_cores

# The whole network trains; the learning rates are those that a sweep would try.
SWEEP = (
    "-m", "data=demo", "plan=unfrozen", "plan.stages.body.epochs=1", "data.size=96",
    "plan.stages.body.lr=1e-5,3e-5,1e-4,3e-4", "logger=none", "data.num_workers=0",
)  # fmt: skip


def main() -> None:
    """Run the sweeps, and print their seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    print("| busy | jobs at once | sweep of 4 runs, s (all) |")
    print("| --- | --- | --- |")
    for busy in (0, available_cores()):
        seconds: dict[int, list[float]] = {jobs: [] for jobs in asked.jobs}
        with ExitStack() as stack:
            for _ in range(busy):
                hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while 1: pass"]))
                stack.callback(hog.kill)
            for number in range(asked.rounds):
                for jobs in random.Random(number).sample(asked.jobs, len(asked.jobs)):
                    seconds[jobs].append(sweep(jobs, asked.data.resolve()))
        for jobs, found in seconds.items():
            each = ", ".join(f"{value:.0f}" for value in sorted(found))
            print(f"| {busy} | {jobs} | {median(found):.0f} ({each}) |", flush=True)


def sweep(jobs: int, data: Path) -> float:
    """Seconds of the whole sweep with so many jobs at once."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*SWEEP, f"data.root={data}", f"hydra.launcher.jobs={jobs}"]
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pets", "train", *words, f"cache_dir={folder}/cache"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
