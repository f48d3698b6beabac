"""The learning curve: heads fitted to nested subsets of the training photos' features."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from pets.config import CurveConfig
from pets.data.splits import TRAIN
from pets.errors import DataError
from pets.probe.features import (
    Features,
    learner_of,
    pooled_features,
    probe_photos,
    with_backbone,
    with_model,
)
from pets.probe.forecast import LEAST_SIZES, Curve, forecast_all, nested_subsets
from pets.probe.head import choose_c, fit_head
from pets.run_dir import RunDir
from pets.seeding import derive
from pets.training.warm_start import initial_backbone

log = logging.getLogger(__name__)
FRACTIONS = tuple(np.geomspace(0.1, 1.0, 8))


def run_curve(config: CurveConfig, run: RunDir | None) -> Curve:
    """Measure errors over the number of training photos, and forecast.

    Raises:
        PetsError: A value is wrong, or there are too few photos.
    """
    learner = with_model(learner_of(config), config.model)
    # The weights first: if they are unavailable, fail before reading any data.
    backbone, preprocess, _ = initial_backbone(learner)
    photos = probe_photos(config, run)
    learner, model = with_backbone(learner, backbone, preprocess, photos.classes)
    features = pooled_features(learner, model, photos)
    labels = features.train_labels
    rngs = [np.random.default_rng(derive(config.seed, "curve", n)) for n in range(config.seeds)]
    orders = [nested_subsets(labels, FRACTIONS, rng) for rng in rngs]
    sizes = [len(rows) for rows in orders[0]]
    if len(sizes) < LEAST_SIZES:
        raise DataError(
            f"data.root={config.data.root}: {len(photos.of(TRAIN))} training photos of "
            f"{len(photos.classes)} classes are too few for a curve; expected about "
            f"{LEAST_SIZES} or more of each class"
        )
    c, cv_error = choose_c(features.train, labels, config.seed)
    log.info("%s: head with C=%g, %.1f %% error in cross-validation on %s training photos",
             config.model.name, c, 100 * cv_error, f"{len(labels):,}")  # fmt: skip
    wrong = measure(features, orders, c)
    for size, errors in zip(sizes, wrong.mean(2), strict=True):
        log.info("  %6s photos: %.1f %% error", f"{size:,}", 100 * errors.mean())
    forecasts = forecast_all(
        photos.classes, labels, features.valid_labels, orders[0], wrong, config.more,
        derive(config.seed, "bootstrap"),
    )  # fmt: skip
    return Curve(*forecasts, config.model.name, config.seeds, str(photos.root))


def measure(
    features: Features, orders: list[list[NDArray[np.int64]]], c: float
) -> NDArray[np.float64]:
    """Return whether each validation photo is wrong (sizes, seeds, photos).

    A head is fitted to each subset. The largest subset is the same for all seeds.
    """
    wrong = np.empty((len(orders[0]), len(orders), len(features.valid_labels)))
    for seed, subsets in enumerate(orders):
        for size, rows in enumerate(subsets):
            if len(rows) == len(features.train) and seed:
                wrong[size, seed] = wrong[size, 0]
                continue
            head = fit_head(features.train[rows], features.train_labels[rows], c)
            wrong[size, seed] = head.predict(features.valid) != features.valid_labels
    return wrong
