"""How often the intervals of `pets curve` hold: half of the photos foretell what all bring."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from sklearn.model_selection import StratifiedShuffleSplit

from pets.config import CurveConfig
from pets.config.resolvers import register_resolvers
from pets.config.validation import typed
from pets.probe.curve import FRACTIONS, measure
from pets.probe.features import (
    Features,
    learner_of,
    pooled_features,
    probe_photos,
    with_backbone,
    with_model,
)
from pets.probe.forecast import HELD_OUT, forecast, nested_subsets
from pets.probe.head import choose_c
from pets.system.installation import conf_dir
from pets.training.warm_start import initial_backbone

SEEDS = 10  # as conf/curve.yaml has it


def main() -> None:
    """Split the photos again and again, and print a row for each split and the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="in the Oxford pets layout")
    parser.add_argument("--splits", type=int, default=20)
    asked = parser.parse_args()
    features, labels = features_of(asked.data)
    splits = StratifiedShuffleSplit(asked.splits, test_size=0.25, random_state=0)
    checks, held, told = [], [], []
    print("| split | error | half foretells | measured | checks inside |")
    print("| --- | --- | --- | --- | --- |")
    for number, (train, valid) in enumerate(splits.split(features, labels)):
        split = Features(features[train], labels[train], features[valid], labels[valid])
        c, _ = choose_c(split.train, split.train_labels, number)
        orders = [
            nested_subsets(split.train_labels, FRACTIONS, np.random.default_rng((number, seed)))
            for seed in range(SEEDS)
        ]
        wrong = measure(split, orders, c)
        sizes, rng = [len(rows) for rows in orders[0]], np.random.default_rng(number)
        whole = forecast("", sizes, wrong, None, rng)
        # As somebody with half of the training photos would have forecast it.
        before = sizes[:-HELD_OUT]
        half = forecast("", before, wrong[:-HELD_OUT], sizes[-1] - before[-1], rng)
        real = whole.now - half.now
        inside = [check.inside for check in whole.checks]
        checks += inside
        held.append(half.low <= real <= half.high)
        told.append(not half.doubt)
        print(f"| {number} | {whole.now:.1%} | {100 * half.change:+.1f} ({100 * half.low:+.1f} to "
              f"{100 * half.high:+.1f}) | {100 * real:+.1f} | {sum(inside)} of {len(inside)} |",
              flush=True)  # fmt: skip
    print(f"\nchecks inside: {sum(checks)} of {len(checks)}; forecasts that held: {sum(held)} of "
          f"{len(held)}; of which told: {sum(told)}")  # fmt: skip


def features_of(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the features by EfficientNet-Lite0 and the class indices of all photos."""
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        data = ["data=oxford_pets", f"data.root={root.absolute()}", "data.split=random"]
        config = typed(CurveConfig, compose("curve", overrides=data))
        learner = with_model(learner_of(config), config.model)
    backbone, preprocess, _ = initial_backbone(learner)
    photos = probe_photos(config, None)
    learner, model = with_backbone(learner, backbone, preprocess, photos.classes)
    found = pooled_features(learner, model, photos)
    return (
        np.vstack([found.train, found.valid]),
        np.concatenate([found.train_labels, found.valid_labels]),
    )


if __name__ == "__main__":
    main()
