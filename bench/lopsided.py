"""What losses and samplers do for a class with 5 % of the training photos, class by class."""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from pets.demo import draw_pets

# Two pairs of breeds that are hard to tell apart; the first is the rare one.
BREEDS = ("coast_bull_terrier", "valley_bull_terrier", "Harbour_Blue", "Slate_Fold")
TRAIN, VALID, TEST = (20, 127, 127, 127), 20, 150
SIDES = {
    "plain": [],
    "loss=weighted": ["loss=weighted"],
    "loss=focal": ["loss=focal"],
    "loss=bce": ["loss=bce"],
    "loss=asymmetric": ["loss=asymmetric"],
    "loss=poly": ["loss=poly"],
    "data.sampler=balanced": ["data.sampler=balanced"],
    "data.sampler=weighted": ["data.sampler=weighted"],
}
ALWAYS = (
    "data=table", "data.split=column", "data.split_column=split", "data.size=160",
    "model=efficientnet_lite0", "plan=frozen4", "precompute=true", "precompute.views=4",
)  # fmt: skip


def main() -> None:
    """Draw the photos, train every side, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--work", type=Path, default=Path("build/bench/lopsided"))
    asked = parser.parse_args()
    root = asked.work.absolute() / "photos"
    if not root.exists():
        draw_pets(root, per_breed=max(TRAIN) + VALID + TEST, size=160)
    write_table(root / "labels.csv")
    print("| side | rare class | other classes | as frequent as in training |")
    print("| --- | --- | --- | --- |")
    for name, words in SIDES.items():
        found = [accuracies(asked.work, root, words, seed, asked.epochs) for seed in asked.seeds]
        cells = [cell([run[column] for run in found]) for column in range(3)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def write_table(file: Path) -> None:
    """Assign the breeds' photos to train, valid and test."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label", "split"])
        for breed, train in zip(BREEDS, TRAIN, strict=True):
            photos = sorted((file.parent / "images").glob(f"{breed}_*.jpg"))
            splits = ["test"] * TEST + ["valid"] * VALID + ["train"] * train
            for photo, split in zip(photos, splits, strict=False):
                rows.writerow([photo.relative_to(file.parent), breed, split])


def accuracies(
    work: Path, root: Path, words: list[str], seed: int, epochs: int
) -> tuple[float, float, float]:
    """The test accuracy in % of the rare class, of the others, and of a test set with as many
    photos of each as were trained on."""
    name = "_".join(words).replace("=", "_") or "plain"
    run = work.absolute() / "runs" / f"{name}_{epochs}_{seed}"
    if not (run / "status.json").exists():
        command = [sys.executable, "-m", "pets", "train", *ALWAYS, f"data.root={root}", *words]
        more = [f"seed={seed}", f"plan.stages.head.epochs={epochs}", f"hydra.run.dir={run}"]
        cache = {"PETS_CACHE": os.environ.get("PETS_CACHE", str(work.absolute() / "cache"))}
        subprocess.run(
            [*command, *more], check=True, stdout=subprocess.DEVNULL, env=os.environ | cache
        )
    status = json.loads((run / "status.json").read_text(encoding="utf-8"))
    each = [100 * status["results"]["test"]["per_class"][breed] for breed in BREEDS]
    everything = sum(a * n for a, n in zip(each, TRAIN, strict=True)) / sum(TRAIN)
    return each[0], statistics.mean(each[1:]), everything


def cell(values: list[float]) -> str:
    """The mean and the range."""
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
