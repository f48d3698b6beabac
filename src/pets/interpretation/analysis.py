"""A trained model studied on a split: one pass, then everything that can be read from it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from pets.callbacks.progress import ProgressBar
from pets.config import InterpretSettings
from pets.data.photos import OTHER, Photo, Photos
from pets.data.splits import TRAIN, VALID
from pets.data.views import NAMES, Views
from pets.errors import DataError
from pets.interpretation.calibration import (
    Reliability,
    at_temperature,
    fit_temperature,
    reliability,
)
from pets.interpretation.dataset import SeenPhotos
from pets.interpretation.extraction import Observed, Observer, observe
from pets.interpretation.interpretation import Interpretation
from pets.interpretation.layers import Stage, TopPatches, first_kernels
from pets.interpretation.neighbours import nearest
from pets.interpretation.rows import Floats
from pets.interpretation.suspects import find_suspects, held_out_probabilities, suspects_table
from pets.training.evaluation import Trained
from pets.training.trainer import trainer

log = logging.getLogger(__name__)
_PAIRS = 1_000_000_000  # comparisons of two photos that are done for a warning
LINES = 20  # about photos that cannot be read; the report and the summary name them all


@dataclass(frozen=True)
class Neighbour:
    """A training photo near another photo in the backbone's feature space."""

    place: int
    label: str
    similarity: float


@dataclass(frozen=True)
class Study:
    """A model and what it made of photos in one pass: all that a report is made of.

    `photos` are those of the pass, by place; `data` all of the run's own; `root` is where those of
    the split lie. Everything else is read from `observed`.
    """

    trained: Trained
    split: str
    settings: InterpretSettings
    data: Photos
    root: Path
    photos: list[Photo]
    observed: Observed
    stages: list[Stage]

    @cached_property
    def all(self) -> Interpretation:
        """The predictions of every photo that passed; row i is the i-th of `observed.places`."""
        places, classes = self.observed.places, self.trained.model.classes
        passed = [self.photos[place] for place in places]
        logs = np.array([self.observed.log_probabilities[place] for place in places])
        return Interpretation.of_arrays(
            [row.path for row in passed],
            [row.split for row in passed],
            [row.label for row in passed],
            logs.reshape(len(places), len(classes)),
            classes,
        )

    @cached_property
    def found(self) -> Interpretation:
        """The predictions of the split."""
        return self.all.of(self.split)

    @cached_property
    def places(self) -> list[int]:
        """Which photo of the pass each row of `found` is."""
        return self._places_of(self.split)

    @property
    def kernels(self) -> Tensor | None:
        """The first kernels, (n, 3, h, w)."""
        return first_kernels(self.trained.model.backbone)

    @property
    def calibrated(self) -> bool:
        """Whether there were validation photos to fit a temperature on."""
        return bool(self._places_of(VALID))

    @cached_property
    def temperature(self) -> float:
        """Fitted on the validation photos; 1 where there are none."""
        valid = self.all.of(VALID)
        return fit_temperature(valid.log_probabilities, valid.labels)

    @cached_property
    def seen_in_training(self) -> int:
        """How many photos of the split are, as the network sees them, the same as a training photo
        (cosine of their features above 0.999): each flatters the accuracy."""
        train = self._places_of(TRAIN)
        if self.split == TRAIN or not train or len(train) * len(self.places) > _PAIRS:
            return 0
        near = nearest(self._features(self.places), self._features(train), 1)
        return int((near.similarity[:, 0] > 0.999).sum())

    @cached_property
    def calibration(self) -> tuple[Reliability, Reliability]:
        """Of the split: as predicted, and at the temperature."""
        found = self.found
        cooled = np.exp(at_temperature(found.log_probabilities, self.temperature))
        before, after = (
            reliability(sure.max(1), found.correct) for sure in (found.probabilities, cooled)
        )
        return before, after

    @cached_property
    def suspects(self) -> pd.DataFrame:
        """Suspects among all photos that passed: held-out ones by the network, calibrated; training
        photos, whose labels it has seen, by a model fitted on the others of them."""
        found, labels = self.all, self.all.labels
        probabilities = np.exp(at_temperature(found.log_probabilities, self.temperature))
        trained = (found.table["split"] == TRAIN).to_numpy()
        if trained.any():
            features = self._features(self._places_of(TRAIN))
            probabilities[trained] = held_out_probabilities(
                features, labels[trained], len(found.classes), self.trained.config.seed
            )
        rows = find_suspects(labels, probabilities)
        if self.split == OTHER:
            # A table for data.relabel is about one folder.
            rows = rows[(found.table["split"] == OTHER).to_numpy()[rows]]
        return suspects_table(found.table, probabilities, found.classes, rows)

    @property
    def view_accuracy(self) -> dict[str, float]:
        """The accuracy on the split of every view alone."""
        by_view = np.array([self.observed.by_view[place] for place in self.places])
        right = (by_view == self.found.labels[:, None]).mean(0)
        return dict(zip(NAMES, right.tolist(), strict=False))

    def neighbours(self, rows: list[int]) -> dict[int, list[Neighbour]]:
        """The nearest training photos of rows of `found`; none where no training photo passed."""
        k, train = self.settings.neighbours, self._places_of(TRAIN)
        if not rows or not train or not k:
            return {row: [] for row in rows}
        own = {place: i for i, place in enumerate(train)}
        asked = [self.places[row] for row in rows]
        itself = np.array([own.get(place, -1) for place in asked])
        near = nearest(self._features(asked), self._features(train), k, itself)
        return {
            row: [
                Neighbour(train[i], self.photos[train[i]].label, float(alike))
                for i, alike in zip(found, similarity, strict=True)
            ]
            for row, found, similarity in zip(rows, *near, strict=True)
        }

    def _places_of(self, split: str) -> list[int]:
        return [place for place in self.observed.places if self.photos[place].split == split]

    def _features(self, places: list[int]) -> Floats:
        return np.array([self.observed.features[place] for place in places], dtype=np.float32)


def study(
    trained: Trained,
    photos: Photos,
    split: str,
    settings: InterpretSettings,
    others: Photos | None = None,
) -> Study:
    """Pass the split, the validation photos (for calibration) and the training photos (for
    neighbours and suspects) through the network; `others` stand for the split where it is `other`.

    Raises DataError where no photo of the split can be read.
    """
    config, model = trained.config, trained.model
    here = others or photos
    asked = here.of(split)
    studied = asked + (photos.of(VALID) if split != VALID else [])
    reference = photos.of(TRAIN) if settings.neighbours and split != TRAIN else []
    rows = studied + reference
    paths = [(here if row.split == split else photos).root / row.path for row in rows]

    also = {VALID: len(studied) - len(asked), TRAIN: len(reference)}
    words = ", ".join(f"{count:,} {name}" for name, count in also.items() if count)
    log.info(
        "studying %s %s photos%s", f"{len(asked):,}", split, words and f"; beside them {words}"
    )
    cut = len(studied)
    parts = [(range(cut), NAMES[: settings.tta]), (range(cut, len(rows)), NAMES[:1])]
    datasets = [
        SeenPhotos([paths[p] for p in part], part, Views(names, model.size, model.preprocess))
        for part, names in parts
        if len(part)
    ]
    targets = [model.classes.index(row.label) for row in rows]
    patches = None
    if settings.channels:
        patches = TopPatches(model.backbone, model.size, settings.channels, settings.patches)
    observer = Observer(model, datasets, targets, config.data, patches)
    bar = [ProgressBar()] if "progress_bar" in config.callbacks else []
    observed = observe(
        observer, trainer({**config.trainer, "inference_mode": False}, callbacks=bar)
    )
    for problem in list(observed.problems.values())[:LINES]:
        log.warning("left out: %s", problem)
    if len(observed.problems) > LINES:
        log.warning("left out: %s more", f"{len(observed.problems) - LINES:,}")
    stages = patches.stages if patches else []
    found = Study(trained, split, settings, photos, here.root, rows, observed, stages)
    if not found.places:
        raise DataError(f"{here.root}: none of the {split} photos could be read")
    if found.seen_in_training:
        log.warning(
            "%s of the %s %s photos are the same as training photos: the accuracy is flattered",
            f"{found.seen_in_training:,}", f"{len(found.places):,}", split,
        )  # fmt: skip
    return found
