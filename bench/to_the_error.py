"""fastai's fine_tune beside cheaper plans of pets on the same photos: time and validation error."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean

from compare import use_cores
from job import Job
from photos import accuracy_job, in_folders
from results import row, spread
from sides import fastai_environment

HELD_OUT = 4  # every fourth photo of a breed
HEAD = ("precompute=true", "plan.stages.head.epochs=4", "plan.stages.head.lr=3e-3")
SHORT = "plan.stages.body.epochs=1"
# Words after those of fastai's plan: first a head trained on activations, then that and one more.
SIDES = {
    "equal work": [],
    "head on activations": [*HEAD],
    "+ body at 160 px": [*HEAD, "plan.stages.body.size=160"],
    "+ last group only": [*HEAD, "plan.stages.body.freeze_to=-2"],
    "+ last two groups only": [*HEAD, "plan.stages.body.freeze_to=-3"],
    "+ half of the epochs": [*HEAD, SHORT],
    "+ 160 px, half of the epochs": [*HEAD, SHORT, "plan.stages.body.size=160"],
    "head alone": [*HEAD[:1], "plan=frozen4"],
}


def main() -> None:
    """Train every side with every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="in the Oxford-IIIT Pets' layout")
    parser.add_argument("--epochs", type=int, default=2, help="unfrozen ones, after a frozen one")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--fastai-python", type=Path, default=None)
    asked = parser.parse_args()
    use_cores(asked.cores)
    work = asked.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    job = split_job(work, asked.data.absolute(), asked.epochs)
    file = job.save(work / "to_the_error.json")
    python = (asked.fastai_python or fastai_environment(work / "fastai")).absolute()
    measured: dict[str, list[tuple[float, float]]] = {}
    for seed in asked.seeds:
        for side in ("fastai", *SIDES):
            if side == "fastai":
                found = of_fastai(python, file, seed, asked.cores)
            else:
                name = re.sub(r"\W+", "-", side).strip("-")
                run = work / "to_the_error" / str(seed) / name
                found = of_pets(job, SIDES[side], seed, run)
            measured.setdefault(side, []).append(found)
            print(f"seed {seed}, {side}: {found[0]:.1f} s, {100 * found[1]:.1f} %", flush=True)
    print(table(measured))


def split_job(work: Path, root: Path, epochs: int) -> Job:
    """EfficientNet-Lite0 on links to the photos, every fourth of a breed held out."""
    links = work / "held_out"
    job = accuracy_job(work, root, epochs)
    if not links.exists():
        place: dict[str, int] = {}
        for photo, breed in sorted(job.labels.items()):
            place[breed] = place.get(breed, -1) + 1
            split = "train" if place[breed] % HELD_OUT else "valid"
            (links / split / breed).mkdir(parents=True, exist_ok=True)
            (links / split / breed / Path(photo).name).symlink_to(photo)
    return replace(
        job,
        train=in_folders(links / "train"),
        valid=in_folders(links / "valid"),
        fine_tune=True,
        pets=["data=folder", f"data.root={links}", *job.pets[3:]],
    )


def of_fastai(python: Path, file: Path, seed: int, cores: int) -> tuple[float, float]:
    """fastai's seconds of training and its validation error."""
    command = [python, Path(__file__).with_name("on_fastai.py"), file, "--seed", str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": str(cores), "CUDA_VISIBLE_DEVICES": ""}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    told = json.loads(said.stdout.splitlines()[-1])
    return told["seconds"], told["error"]


def of_pets(job: Job, words: list[str], seed: int, run: Path) -> tuple[float, float]:
    """A run's seconds of its stages, the pass through the backbone too, and its error."""
    if not (run / "status.json").exists():
        command = [
            sys.executable, "-m", "pets", "train", *job.pets, "plan=fine_tune",
            f"plan.stages.body.epochs={job.epochs}", f"data.batch_size={job.batch_size}",
            "data.num_workers=0", "trainer.accelerator=cpu", f"seed={seed}",
            f"hydra.run.dir={run}", f"cache_dir={run}-cache",
        ]  # fmt: skip
        if "plan=frozen4" in words:
            command = [word for word in command if not word.startswith("plan")]
        subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)
    status = json.loads((run / "status.json").read_text(encoding="utf-8"))
    return sum(status["seconds"].values()), status["results"]["valid"]["error_rate"]


def table(measured: dict[str, list[tuple[float, float]]]) -> str:
    """Means and ranges over the seeds, and how much less time than fastai, seed by seed."""
    lines = [row(["mean (range)", "error, %", "seconds", "of fastai's time"]), row(["---"] * 4)]
    for side, found in measured.items():
        pairs = zip(found, measured["fastai"], strict=True)
        columns = [
            ([100 * error for _, error in found], ".1f"),
            ([seconds for seconds, _ in found], ".0f"),
            ([own / others for (own, _), (others, _) in pairs], ".2f"),
        ]
        lines.append(row([side, *(spread(numbers, how, mean) for numbers, how in columns)]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
