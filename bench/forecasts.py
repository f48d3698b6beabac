"""How often the statements of `pets curve` and `pets race` hold, by repetition on real features.

`curve`: half of the training photos foretell what all of them bring, and the largest sizes are held
out. `race`: a backbone's channels are dealt at random to entrants, none of which is then better but
by luck; called different, they are a false alarm.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

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
from pets.probe.forecast import (
    HELD_OUT,
    LEAST_VALID_OF_CLASS,
    change_in_points,
    forecast,
    nested_subsets,
)
from pets.probe.head import choose_c, fit_head
from pets.probe.ranking import Entrant, Race
from pets.system.installation import conf_dir
from pets.training.warm_start import initial_backbone

SEEDS = 10  # as conf/curve.yaml has it


def main() -> None:
    """Split the photos again and again, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="as of pets curve: data=folder data.root=...")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--class-valid", type=int, default=LEAST_VALID_OF_CLASS,
                        help="validation photos from which a class is foretold")  # fmt: skip
    parser.add_argument("--entrants", type=int, default=0, help="of a race, instead of the curve")
    asked = parser.parse_args()
    whole = features_of(asked.data)
    if asked.entrants:
        races(whole, asked.splits, asked.entrants)
    else:
        curves(whole, asked.splits, asked.class_valid)


def curves(whole: Features, splits: int, least: int) -> None:
    """Print how often the intervals of all photos and of single classes held."""
    counts = Counter[str]()
    for number, split in enumerate(splits_of(whole, splits)):
        c, _ = choose_c(split.train, split.train_labels, number)
        orders = [
            nested_subsets(split.train_labels, FRACTIONS, np.random.default_rng((number, seed)))
            for seed in range(SEEDS)
        ]
        wrong, rng = measure(split, orders, c), np.random.default_rng(number)
        photos = np.stack([np.bincount(split.train_labels[rows]) for rows in orders[0]])
        several = [(photos.sum(1), wrong)]
        for index in range(photos.shape[1]):
            chosen = split.valid_labels == index
            if chosen.sum() >= least:
                several.append((photos[:, index], wrong[:, :, chosen]))
        for place, (sizes, errors) in enumerate(several):
            of = "class" if place else "all"
            checks = forecast("", sizes, errors, None, rng, least_valid=least).checks
            # As somebody with half of the training photos would have forecast it.
            before, more = sizes[:-HELD_OUT], int(sizes[-1] - sizes[-HELD_OUT - 1])
            among = photos.shape[1] if place else 1
            half = forecast("", before, errors[:-HELD_OUT], more, rng, among, least)
            real = errors[-1].mean() - errors[-HELD_OUT - 1].mean()
            held = half.low <= real <= half.high
            # The expected change, and the luck of the one set of photos that was added.
            reach = 1.96 * half.spread
            counts += Counter({
                f"{of}: held-out sizes": len(checks),
                f"{of}: held-out sizes inside": sum(check.inside for check in checks),
                f"{of}: forecasts": 1,
                f"{of}: forecasts that held": int(held),
                f"{of}: held with the luck": int(half.low - reach <= real <= half.high + reach),
                f"{of}: told": int(not half.doubt),
                f"{of}: told that held": int(not half.doubt and held),
                f"{of}: told with the right sign": int(not half.doubt and real < 0),
            })  # fmt: skip
            if not place:
                print(f"split {number}: {errors[-1].mean():.1%} error; half foretells "
                      f"{change_in_points(half)}, measured {100 * real:+.1f}; "
                      f"{half.doubt or 'told'}",
                      flush=True)  # fmt: skip
    for name, count in counts.items():
        print(f"{name}: {count}")


def races(whole: Features, splits: int, entrants: int) -> None:
    """Print how often one of equal entrants was called worse than the best."""
    alarms = 0
    for number, split in enumerate(splits_of(whole, splits)):
        rng = np.random.default_rng(number)
        hands = np.array_split(rng.permutation(split.train.shape[1]), entrants)
        racing = []
        for name, hand in enumerate(hands):
            c, cv_error = choose_c(split.train[:, hand], split.train_labels, number)
            head = fit_head(split.train[:, hand], split.train_labels, c)
            wrong = (head.predict(split.valid[:, hand]) != split.valid_labels).tolist()
            racing.append(Entrant(str(name), "", (0, 0), tuple(wrong), c, cv_error, 1, 1, ""))
        race = Race.of(racing, {}, len(split.train), 0, "")
        alarms += len(race.tied) < entrants
        errors = ", ".join(f"{one.error:.1%}" for one in race.entrants)
        print(f"split {number}: {errors}; p {min(one.p_adjusted for one in race.comparisons):.2g}",
              flush=True)  # fmt: skip
    print(f"called different: {alarms} of {splits}")


def splits_of(whole: Features, splits: int) -> Iterator[Features]:
    """Deal all photos to training and validation, again and again."""
    features, labels = whole.train, whole.train_labels
    shuffle = StratifiedShuffleSplit(splits, test_size=0.25, random_state=0)
    for train, valid in shuffle.split(features, labels):
        yield Features(features[train], labels[train], features[valid], labels[valid])


def features_of(data: list[str]) -> Features:
    """Return the features by EfficientNet-Lite0 of all photos, as those for training."""
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = typed(CurveConfig, compose("curve", overrides=data))
        learner = with_model(learner_of(config), config.model)
    backbone, preprocess, _ = initial_backbone(learner)
    photos = probe_photos(config, None)
    learner, model = with_backbone(learner, backbone, preprocess, photos.classes)
    found = pooled_features(learner, model, photos)
    features = np.vstack([found.train, found.valid])
    labels = np.concatenate([found.train_labels, found.valid_labels])
    return Features(features, labels, features[:0], labels[:0])


if __name__ == "__main__":
    main()
