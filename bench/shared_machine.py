"""Training beside busy processes: how OpenMP's threads should wait for each other.

    python bench/shared_machine.py --rounds 3

In every round each setting trains the demo's frozen stage (two epochs) once, in shuffled order: on
the machine as it is, then beside as many busy processes as there are cores. Prints the seconds of
the stage, and the CPU seconds of the whole command.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from pets.system.cpu import available_cores

SETTINGS = {
    "libgomp's own": {"GOMP_SPINCOUNT": "300000"},
    "pets' own": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
TRAIN = ("data=demo", "plan=frozen4", "plan.stages.head.epochs=2", "callbacks=default",
         "logger=none", "data.num_workers=1")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("data/demo-pets"))
    options = parser.parse_args()
    print(f"| {'busy':4} | {'threads wait':13} | stage, s (all)               | CPU, s |")
    for busy in (0, available_cores()):
        seconds: dict[str, list[float]] = {name: [] for name in SETTINGS}
        cpu: dict[str, list[float]] = {name: [] for name in SETTINGS}
        with ExitStack() as stack:
            for _ in range(busy):
                hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while 1: pass"]))
                stack.callback(hog.kill)
            for number in range(options.rounds):
                for name in random.Random(number).sample(list(SETTINGS), len(SETTINGS)):
                    stage, used = train(SETTINGS[name], options.data.resolve())
                    seconds[name].append(stage)
                    cpu[name].append(used)
        for name in SETTINGS:
            each = ", ".join(f"{value:.1f}" for value in sorted(seconds[name]))
            stage = f"{median(seconds[name]):.1f} ({each})"
            print(f"| {busy:4} | {name:13} | {stage:28} | {median(cpu[name]):6.1f} |", flush=True)


def train(setting: dict[str, str], data: Path) -> tuple[float, float]:
    """Seconds of the frozen stage, and CPU seconds of the command."""
    unset = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"}
    environment = {key: value for key, value in os.environ.items() if key not in unset} | setting
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pets", "train", *TRAIN, f"data.root={data}"]
        subprocess.run(
            [*command, f"hydra.run.dir={folder}/run"],
            env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        stage = json.loads(Path(folder, "run", "status.json").read_text())["seconds"]["head"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return stage, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
