"""How near the lr finder's suggestions come to the steepest point of curves where that is known."""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sides import fastai_environment

from pets.config import FinderConfig
from pets.lr_finder.curve import SKIPPED_AT_START, Curve
from pets.lr_finder.range_test import EXPLOSION, RunningMean
from pets.lr_finder.suggestions import METHODS

Array = NDArray[np.float64]
HERE = Path(__file__).resolve().parent
SETTINGS = FinderConfig(start_lr=1e-7, end_lr=10.0, steps=100, method=["valley"])
LOG_LRS = np.linspace(-7, 1, SETTINGS.steps)
NOISES = (0.0, 0.15, 0.4)
FACTOR = 3.0


def sigmoid(z: Array) -> Array:
    """From 0 to 1."""
    return 1 / (1 + np.exp(-np.clip(z, -60, 60)))


def explosion(start: float) -> Array:
    """From nothing to hundreds, e-fold every 0.35 decades."""
    return 0.3 * np.exp(np.clip((LOG_LRS - start) / 0.35, -60, 8))


# Loss over log rate; each takes the place of its fall, in decades.
SHAPES: dict[str, Callable[[float], Array]] = {
    "sigmoid": lambda c: 3.6 - 2.6 * sigmoid((LOG_LRS - c) / 0.35) + explosion(c + 2.2),
    "wide": lambda c: 3.6 - 2.6 * sigmoid((LOG_LRS - c) / 0.7) + explosion(c + 3.2),
    "early": lambda c: 3.6 - 2.6 * np.exp(-np.exp(-(LOG_LRS - c) / 0.5)) + explosion(c + 3),
    "late": lambda c: (
        1 + 2.6 * np.exp(-np.exp(np.minimum((LOG_LRS - c) / 0.5, 4))) + explosion(c + 2)
    ),
    "two falls": lambda c: (
        3.6
        - 0.6 * sigmoid((LOG_LRS - c + 1.7) / 0.3)
        - 2 * sigmoid((LOG_LRS - c) / 0.3)
        + explosion(c + 2)
    ),
    "shallow": lambda c: 1.2 - 0.9 * sigmoid((LOG_LRS - c) / 0.4) + explosion(c + 2),
    "no end": lambda c: 3.6 - 2.6 * sigmoid((LOG_LRS - c) / 0.4),
}


@dataclass(frozen=True)
class Case:
    """One noisy curve, and the log rate at which it falls most without its noise."""

    shape: str
    noise: float
    steepest: float
    curve: Curve

    def off(self, lr: float) -> float:
        """Decades from the steepest point; above 0: a higher rate."""
        return float(np.log10(lr)) - self.steepest


def main() -> None:
    """Suggest on every curve, on both sides, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="curves for each shape and noise")
    parser.add_argument("--work", type=Path, default=Path("build/bench"), help="for fastai")
    parser.add_argument("--fastai-python", type=Path, help="a Python that has fastai already")
    asked = parser.parse_args()
    cases = [
        make(shape, noise, seed)
        for noise in NOISES
        for shape in SHAPES
        for seed in range(asked.seeds)
    ]
    found = {"pets": [case.curve.suggestions() for case in cases]}
    python = asked.fastai_python or fastai_environment(asked.work.absolute() / "fastai")
    found["fastai"] = by_fastai(python.absolute(), cases)
    for line in table(cases, found):
        print(line)


def make(shape: str, noise: float, seed: int) -> Case:
    """A curve whose fall lies anywhere between 3e-4 and 3e-2, ended as the finder would end it."""
    random = np.random.default_rng(seed)
    losses = SHAPES[shape](random.uniform(-3.5, -1.5))
    lowest = int(losses.argmin())
    steepest = LOG_LRS[: lowest + 1][np.gradient(losses, LOG_LRS)[: lowest + 1].argmin()]
    noisy = np.maximum(losses + noise * random.standard_normal(len(losses)), 1e-3)
    noisy = noisy[: exploded(noisy)]
    lrs = 10 ** LOG_LRS[: len(noisy)]
    return Case(shape, noise, float(steepest), Curve(lrs, noisy, SETTINGS, "", 0, 0.0))


def exploded(losses: Array) -> int:
    """How many points there are until the running loss is 4 times its lowest."""
    means = running(losses)
    first = round(SKIPPED_AT_START * SETTINGS.steps) - 1
    over = np.nonzero(means[first:] > EXPLOSION * np.minimum.accumulate(means[first:]))[0]
    return first + int(over[0]) + 1 if len(over) else len(losses)


def running(losses: Array) -> Array:
    """fastai's smoothed loss: the debiased running mean."""
    mean = RunningMean()
    return np.array([mean.update(float(loss)) for loss in losses])


def by_fastai(python: Path, cases: list[Case]) -> list[dict[str, float | str]]:
    """fastai's own functions on what its finder would hand them: running means, ends cut off."""
    curves = [
        {
            "lrs": case.curve.lrs[case.curve.used].tolist(),
            "losses": running(case.curve.losses)[case.curve.used].tolist(),
        }
        for case in cases
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "curves.json"
        file.write_text(json.dumps(curves), encoding="utf-8")
        command = [python, HERE / "suggestions_of_fastai.py", file]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def table(cases: list[Case], found: dict[str, list[dict[str, float | str]]]) -> list[str]:
    """Share of suggestions within the factor, and their median place, by noise and method."""
    lines = [
        f"within a factor of {FACTOR:g} of the steepest point, in % of all curves; in brackets the "
        "median place",
        "of the suggestions in decades from there, and the share of curves without a suggestion",
        "",
        f"{'noise':<6} {'method':<8}  " + "  ".join(f"{side:<24}" for side in found),
    ]
    for noise in NOISES:
        for method in METHODS:
            cells = []
            for side in found.values():
                rows = [
                    (c, s[method]) for c, s in zip(cases, side, strict=True) if c.noise == noise
                ]
                cells.append(f"{cell(rows):<24}")
            lines.append(f"{noise:<6} {method:<8}  " + "  ".join(cells))
    lines += ["", f"valley by shape: {', '.join(SHAPES)}"]
    for noise in NOISES:
        for side, suggested in found.items():
            shares = []
            for shape in SHAPES:
                pairs = zip(cases, suggested, strict=True)
                rows = [(c, s["valley"]) for c, s in pairs if (c.noise, c.shape) == (noise, shape)]
                shares.append(f"{within(rows):5.1f}")
            lines.append(f"{noise:<6} {side:<8}  " + "  ".join(shares))
    return lines


def within(rows: list[tuple[Case, float | str]]) -> float:
    """Percent of curves with a suggestion within the factor."""
    near = [isinstance(lr, float) and abs(c.off(lr)) <= np.log10(FACTOR) for c, lr in rows]
    return 100 * float(np.mean(near))


def cell(rows: list[tuple[Case, float | str]]) -> str:
    """For example `97.1 (+0.21, none 0.5)`."""
    places = [c.off(lr) for c, lr in rows if isinstance(lr, float)]
    none = 100 * (1 - len(places) / len(rows))
    return f"{within(rows):5.1f} ({np.median(places):+.2f}, none {none:.1f})"


if __name__ == "__main__":
    main()
