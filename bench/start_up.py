"""How long commands take from Enter to their end, beside what their libraries take to import.

python bench/start_up.py [--rounds 5]

Everything is a process of its own; in a round each comes once. Modules are compiled beforehand,
into a folder of this measurement: an environment without bytecode would compile them every time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PETS = (sys.executable, "-m", "pets")
LIGHTNING = "python -c 'import torch, pytorch_lightning'"
TIMM = "python -c 'import torch, timm'"
HEAD = ("data=demo", "data.root=photos", "precompute=true", "~plan.stages.body")


@dataclass(frozen=True)
class Measured:
    """A command, and the imports that its time is a multiple of."""

    command: tuple[str, ...]
    imports: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = prepare(folder)
        seconds: dict[str, list[float]] = {title: [] for title in measured}
        for _ in range(given.rounds):
            for title, each in measured.items():
                seconds[title].append(timed(each.command, folder))
    print(table(measured, seconds))
    print(f"\n{given.rounds} rounds, {len(os.sched_getaffinity(0))} cores")


def prepare(folder: Path) -> dict[str, Measured]:
    """Draw the demo and run everything once, which fills the caches of activations and modules."""
    train = (*PETS, "train", *HEAD)
    timed((*train, "hydra.run.dir=run"), folder)
    photo = next((folder / "photos").rglob("*.jpg"))
    predict = (*PETS, "predict", "run=run", f"source={photo}")
    measured = {
        LIGHTNING: Measured((sys.executable, "-c", "import torch, pytorch_lightning")),
        "pets train, head only, filled cache": Measured(train, LIGHTNING),
        TIMM: Measured((sys.executable, "-c", "import torch, timm")),
        "pets predict, one photo": Measured(predict, TIMM),
        "pets --help": Measured((*PETS, "--help")),
    }
    for each in measured.values():
        timed(each.command, folder)
    return measured


def timed(command: tuple[str, ...], folder: Path) -> float:
    """Wall time in seconds of a command that has to succeed."""
    env = os.environ | {"PETS_CACHE": str(folder / "cache")}
    env |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "modules")}
    began = time.perf_counter()
    result = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return seconds


def table(measured: dict[str, Measured], seconds: dict[str, list[float]]) -> str:
    """A Markdown table; ratios are those of a round, so that a slow minute slows down both."""
    lines = ["| | seconds | range | × its imports | range |", "| --- | --- | --- | --- | --- |"]
    for title, each in measured.items():
        own, ratio, spread = seconds[title], "", ""
        if each.imports:
            ratios = [a / b for a, b in zip(own, seconds[each.imports], strict=True)]
            ratio = f"{statistics.median(ratios):.2f}"
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(
            f"| {title} | {statistics.median(own):.2f} | {min(own):.2f} to {max(own):.2f} "
            f"| {ratio} | {spread} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
