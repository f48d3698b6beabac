"""How many labels the queue of `pets label` needs, beside a random order, until the head has 90 %
of the accuracy that it has with all labels; and how long a head takes to fit."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from forecasts import features_of
from sklearn.model_selection import StratifiedShuffleSplit

from pets.data.photos import Photo
from pets.interpretation.suspects import unit_length
from pets.labelling.learn import HELPFUL, TYPICAL, UNSURE, Known, Learner
from pets.labelling.pool import NEW, Item, Pool

EVERY, VALID, SHARE = 5, 0.25, 0.9
RANDOM = "random"
NOBODY = np.empty(0, np.int64)


def main() -> None:
    """Print a row for each data set and order, with the labels that each seed needed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="in Oxford's layout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--orders", nargs="+", default=[RANDOM, HELPFUL, UNSURE, TYPICAL])
    parser.add_argument("--photos", type=int, default=5000, help="of the timing; 0: none")
    asked = parser.parse_args()
    print("| photos | order | labels needed | of random's |")
    print("| --- | --- | --- | --- |")
    for root in asked.data:
        features, labels = features_of(root)
        for order in asked.orders:
            needed = [labels_needed(features, labels, order, seed) for seed in asked.seeds]
            if order == RANDOM:
                by_chance = needed
            share = statistics.mean(a / b for a, b in zip(needed, by_chance, strict=True))
            cells = f"{statistics.mean(needed):.0f} ({', '.join(map(str, needed))})"
            print(f"| {root.name} | {order} | {cells} | {share:.2f} |", flush=True)
    if asked.photos:
        print_time(asked.photos)


def pool_of(features: np.ndarray, labels: np.ndarray, splits: np.ndarray) -> Pool:
    """A pool of photos that need no files; new ones have no label."""
    items = [
        Item(str(row), Path(), "" if split == NEW else str(label), split, (Photo("", "", ""),))
        for row, (label, split) in enumerate(zip(labels, splits, strict=True))
    ]
    classes = [str(k) for k in range(labels.max() + 1)]
    return Pool(Path(), classes, items, unit_length(features), [])


def labels_needed(features: np.ndarray, labels: np.ndarray, order: str, seed: int) -> int:
    """Label photos in an order, from one of each class on; how many there are when the accuracy on
    a quarter held out is first 90 % of that with all labels."""
    split = StratifiedShuffleSplit(1, test_size=VALID, random_state=seed)
    _, valid = next(split.split(features, labels))
    rng = np.random.default_rng(seed)
    splits = np.full(len(labels), NEW, dtype=object)
    splits[valid] = "valid"
    for name in range(labels.max() + 1):
        splits[rng.choice(np.flatnonzero((labels == name) & (splits == NEW)))] = "train"
    learner = Learner(pool_of(features, labels, splits), seed)
    known = learner.pool.labels()
    final = fit(learner, labels, splits == NEW)
    shuffled = rng.permutation(np.flatnonzero(splits == NEW))
    decided = np.zeros(len(labels), bool)
    while True:
        now = fit(learner, known, decided)
        if 1 - now.error >= SHARE * (1 - final.error) or decided[shuffled].all():
            return int((known >= 0).sum() - len(valid))
        rows = shuffled if order == RANDOM else now.orders[order]
        chosen = rows[~decided[rows]][:EVERY]
        known[chosen], decided[chosen] = labels[chosen], True


def fit(learner: Learner, labels: np.ndarray, decided: np.ndarray) -> object:
    nothing = np.zeros(len(labels), bool)
    return learner.fit(Known(labels.copy(), decided, nothing, int(decided.sum())), NOBODY)


def print_time(photos: int) -> None:
    """Time heads of 37 classes on made-up features of so many photos, half of them labelled."""
    rng = np.random.default_rng(0)
    labels = rng.integers(37, size=photos)
    features = rng.normal(size=(37, 1280))[labels] + 2 * rng.normal(size=(photos, 1280))
    splits = rng.choice(np.array([NEW, "train", "valid"], dtype=object), photos, p=[0.4, 0.5, 0.1])
    started = time.perf_counter()
    learner = Learner(pool_of(features, labels, splits), 0)
    known = learner.pool.labels()
    print(f"\n{photos:,} photos: {time.perf_counter() - started:.1f} s before the first head")
    for count in (0, 5, 500, len(known)):
        bare = np.flatnonzero(known < 0)[:count]
        known[bare] = labels[bare]
        decided = np.isin(np.arange(photos), bare)
        started = time.perf_counter()
        fit(learner, known, decided)
        print(f"  {int((known >= 0).sum()):,} labels: {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
