"""A comparison's measurements as Markdown, for bench/RESULTS.md."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median

from job import Job
from sides import SIDES, Measurement

OTHERS = ("fastai", "plain")
NAMES = {
    "pets": "pets",
    "cold": "pets, precompute, empty cache",
    "warm": "pets, precompute, filled cache",
    "fastai": "fastai",
    "plain": "plain loop",
}
# A column: its title, and its number of a measurement, in a round.
Round = dict[str, Measurement]
Column = tuple[str, str, Callable[[Measurement, Round], float | None]]


def report(job: Job, measured: Sequence[Measurement], cores: int) -> str:
    """Machine, versions, what was done, the sides' middles with ranges, every measurement."""
    rounds: dict[int, Round] = {}
    for found in measured:
        rounds.setdefault(found.seed, {})[found.side] = found
    sides = [side for side in SIDES if any(side in found for found in rounds.values())]
    # The fastest: what other programs took from the multiplications is no limit of the machine.
    limit = max(found.limit for found in measured)
    columns = _columns(job, sides, limit)
    return "\n\n".join(
        [
            f"## {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {job.task}",
            "\n".join(f"- {line}" for line in _about(job, measured, rounds, sides, cores)),
            _summary(job, rounds, sides, columns),
            _each(job, rounds, sides, columns),
        ]
    )


def _columns(job: Job, sides: Sequence[str], limit: float) -> list[Column]:
    def times_as_fast(other: str) -> Callable[[Measurement, Round], float | None]:
        def ratio(m: Measurement, found: Round) -> float | None:
            if m.side == other or other not in found:
                return None
            return found[other].seconds / m.seconds

        return ratio

    columns: list[Column] = [
        ("seconds", ".1f", lambda m, _: m.seconds),
        ("images/s", ".1f", lambda m, _: m.speed),
        *((f"× {o}", ".2f", times_as_fast(o)) for o in OTHERS if o in sides),
        ("% of matmul", ".0f", lambda m, _: m.arithmetic and 100 * m.arithmetic / limit),
        ("process, s", ".1f", lambda m, _: m.wall),
        ("cores had", ".2f", lambda m, _: m.cores),
    ]
    if job.task == "accuracy":
        columns.insert(0, ("test error, %", ".1f", lambda m, _: 100 * m.told.error))
    return columns


def _about(
    job: Job,
    measured: Sequence[Measurement],
    rounds: dict[int, Round],
    sides: Sequence[str],
    cores: int,
) -> list[str]:
    first = {side: next(m for m in measured if m.side == side) for side in sides}
    versions = {}  # one line for pets with and without a cache
    for side in sides:
        said = ", ".join(f"{name} {number}" for name, number in first[side].told.versions.items())
        versions.setdefault(said, NAMES[side].partition(",")[0])
    photos = "; ".join(
        f"{NAMES[side]} {trained:,} + {valid:,}"
        for side in sides
        for trained, valid in [first[side].told.photos]
    )
    state = "trained too" if job.unfrozen else "frozen"
    network = f"{job.model}, {'ImageNet' if job.weights else 'random'} weights, backbone {state}"
    limits = sorted(next(iter(found.values())).limit for found in rounds.values())
    return [
        f"{cpu_model()}, {cores} of {os.cpu_count()} cores, {cores} threads, "
        f"Python {platform.python_version()}",
        *(f"{name}: {said}" for said, name in versions.items()),
        f"{network}; {job.size} px, batch {job.batch_size}, no worker processes; "
        f"{job.epochs} epochs, a validation after each",
        f"photos of an epoch, trained on + validated on: {photos}",
        f"float32 matrix multiplication: {limits[-1]:.0f} GFLOP/s, the fastest of "
        f"{', '.join(f'{limit:.0f}' for limit in limits)}, one before each round",
    ]


def _summary(
    job: Job, rounds: dict[int, Round], sides: Sequence[str], columns: list[Column]
) -> str:
    middle = mean if job.task == "accuracy" else median
    lines = [row([f"{middle.__name__} (range)", *(title for title, _, _ in columns)])]
    lines.append(row(["---"] * (1 + len(columns))))
    for side in sides:
        cells = [NAMES[side]]
        for _, how, number in columns:
            found = [number(r[side], r) for r in rounds.values() if side in r]
            cells.append(spread([n for n in found if n is not None], how, middle))
        lines.append(row(cells))
    return "\n".join(lines)


def _each(job: Job, rounds: dict[int, Round], sides: Sequence[str], columns: list[Column]) -> str:
    kind = "seed" if job.task == "accuracy" else "round"
    lines = [row([kind, "side", *(title for title, _, _ in columns)])]
    lines.append(row(["---"] * (2 + len(columns))))
    for seed, found in rounds.items():
        for side in sides:
            if side in found:
                numbers = [(number(found[side], found), how) for _, how, number in columns]
                cells = ["" if n is None else f"{n:{how}}" for n, how in numbers]
                lines.append(row([str(seed), NAMES[side], *cells]))
    return "\n".join(lines)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def spread(numbers: list[float], how: str, middle: Callable[[list[float]], float]) -> str:
    """Middle and range, for example `2.10 (2.04 to 2.13)`."""
    if not numbers:
        return ""
    return f"{middle(numbers):{how}} ({min(numbers):{how}} to {max(numbers):{how}})"


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
