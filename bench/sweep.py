"""A sweep of 36 runs beside one run, each with an empty cache: how much the 35 others cost.

python bench/sweep.py --data <folder of the 37 breeds> [--rounds 3] [words for pets train ...]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEAD = ("plan=frozen4", "precompute=true", "data=oxford_pets", "data.split=official")
SWEPT = (
    "plan.stages.head.lr=1e-4,3e-4,1e-3,3e-3",
    "plan.stages.head.epochs=2,4,8",
    "seed=0,1,2",
)
MODULES = Path(tempfile.gettempdir()) / "pets-bench-modules"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    given, words = parser.parse_known_args()
    ratios = []
    timed([*HEAD, f"data.root={given.data.resolve()}", *words])  # compiles the modules
    for number in range(1, given.rounds + 1):
        common = [*HEAD, f"data.root={given.data.resolve()}", *words]
        one, _ = timed([*common])
        many, runs = timed(["-m", *common, *SWEPT])
        trained = sum(sum(run["seconds"].values()) for run in runs)
        ratios.append(many / one)
        further = (many - one) / (len(runs) - 1)
        print(
            f"round {number}: one run {one:.1f} s; {len(runs)} runs {many:.1f} s, "
            f"{ratios[-1]:.2f} times as much, {further:.2f} s a further run; "
            f"their stages alone, one after the other, {trained:.1f} s"
        )
    print(
        f"median {statistics.median(ratios):.2f} (range {min(ratios):.2f} to {max(ratios):.2f}), "
        f"{len(os.sched_getaffinity(0))} cores"
    )


def timed(words: list[str]) -> tuple[float, list[dict[str, dict[str, float]]]]:
    """Wall time in seconds of `pets train` with an empty cache, and the status of its runs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pets", "train", *words, f"cache_dir={folder}/cache"]
        began = time.perf_counter()
        # Compiled modules, whatever the environment says: both kinds of runs import the same.
        env = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(MODULES)}
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=env)
        seconds = time.perf_counter() - began
        files = (Path(folder) / "outputs").rglob("status.json")
        return seconds, [json.loads(file.read_text()) for file in files]


if __name__ == "__main__":
    main()
