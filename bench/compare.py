"""pets, fastai and a plain training loop side by side: one-cycle training on a CPU."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from job import Job
from photos import accuracy_job, speed_job
from results import report
from sides import CACHED, SIDES, Bench, Measurement, SideFailed, fastai_environment

from pets.errors import PetsError

# What is compared, and the sides that belong to it. A filled cache changes the time, which speed
# measures, and not the error; what trains the backbone has no cache.
TASKS = {
    "speed": SIDES,
    "unfrozen": tuple(side for side in SIDES if side not in CACHED),
    "accuracy": tuple(side for side in SIDES if side != "warm"),
}


def main() -> None:
    """Make what the sides need, measure them in turns, print the tables."""
    asked = arguments()
    use_cores(asked.cores)
    # Absolute, as measurements run in folders of their own; resolving would leave a venv.
    work = asked.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    if asked.task == "accuracy":
        job, seeds = accuracy_job(work, asked.data.absolute(), asked.epochs), asked.seeds
    else:
        unfrozen = asked.task == "unfrozen"
        job = speed_job(work, asked.photos, asked.epochs, asked.model, unfrozen)
        seeds = range(1, asked.rounds + 1)
    python = (asked.fastai_python or fastai_environment(work / "fastai")).absolute()
    bench = Bench(job, work, python, asked.cores)

    # A polite end is an interruption too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    measured: list[Measurement] = []
    ended = None
    try:
        for found in bench.in_turns(seeds, asked.sides):
            measured.append(found)
            note = f"seed {found.seed}, {found.side}: {found.seconds:.1f} s"
            print(note, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        ended = "interrupted: not everything was measured"
    except (SideFailed, PetsError) as error:
        ended = str(error)
    if measured:
        print(report(job, measured, asked.cores), flush=True)
    sys.exit(ended)


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--task", choices=TASKS, default="speed", help="what is compared")
    add("--model", default="resnet34", help="speed, unfrozen: a network of pets")
    add("--rounds", type=int, default=3, help="speed, unfrozen: how often each side is measured")
    add("--photos", type=int, default=256, help="speed, unfrozen: photos, in whole batches of 32")
    add("--data", type=Path, help="accuracy: a folder in the layout of the Oxford-IIIT Pets")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="accuracy: a round for each")
    add("--epochs", type=int, default=4, help="of a measurement")
    add("--sides", nargs="+", choices=SIDES, default=None, help="all that belong to the task")
    add("--cores", type=int, default=2, help="which each process gets, and as many threads")
    add("--work", type=Path, default=Path("build/bench"), help="folder for photos and fastai")
    add("--fastai-python", type=Path, default=None, help="a Python with fastai and timm")
    asked = parser.parse_args()
    if min(asked.rounds, asked.epochs, asked.cores) < 1:
        parser.error("rounds, epochs and cores: expected at least 1")
    if asked.photos < Job.batch_size or asked.photos % Job.batch_size:
        # pets and fastai leave out an incomplete last batch, the plain loop does not.
        parser.error(f"--photos {asked.photos}: expected a multiple of {Job.batch_size}")
    if asked.task == "accuracy" and not (asked.data and (asked.data / "annotations").is_dir()):
        parser.error(f"--data {asked.data}: expected a folder with images/ and annotations/")
    if asked.sides is None:
        asked.sides = TASKS[asked.task]
    asked.sides = [side for side in SIDES if side in asked.sides]
    if left := [side for side in asked.sides if side not in TASKS[asked.task]]:
        parser.error(f"--sides {' '.join(left)}: expected of {asked.task} {TASKS[asked.task]}")
    if "warm" in asked.sides and "cold" not in asked.sides:
        parser.error("--sides warm: expected cold too, which fills the cache")
    return asked


def use_cores(count: int) -> None:
    """Keep this process and those it starts on some cores, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        return
    own = sorted(os.sched_getaffinity(0))
    if len(own) < count:
        sys.exit(f"--cores {count}: this process may use {len(own)} only")
    os.sched_setaffinity(0, own[:count])


if __name__ == "__main__":
    main()
