"""A trained model studied on a split: one pass, then everything that can be read from it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from torch import Tensor

from pets.callbacks.progress import ProgressBar
from pets.config import InterpretSettings
from pets.data.photos import OTHER, Photo, Photos
from pets.data.splits import TRAIN, VALID
from pets.errors import DataError
from pets.evaluation import Trained
from pets.interpret.calibration import Reliability, at_temperature, fit_temperature, reliability
from pets.interpret.interpretation import Interpretation
from pets.interpret.layers import Stage, TopPatches, first_kernels
from pets.interpret.neighbours import nearest
from pets.interpret.observe import Observed, Observer, observe
from pets.interpret.rows import Floats, Mask, Rows
from pets.interpret.seen import SeenPhotos
from pets.interpret.suspects import find_suspects, held_out_probabilities, suspects_table
from pets.interpret.views import NAMES, Views
from pets.lightning import trainer

log = logging.getLogger(__name__)
LINES = 20  # about photos that cannot be read; the report and the summary name them all


@dataclass(frozen=True)
class Neighbour:
    """A training photo near another photo in the body's feature space."""

    place: int
    label: str
    similarity: float


@dataclass
class Study:
    """All that a report is made of.

    `data` are the run's own photos, `root` is where those of the split lie. `all` has every photo
    that passed, `found` those of the split; `places` says which photo of the pass a row of `found`
    is: its Grad-CAMs and its thumbnail are in `observed` under that number.
    """

    trained: Trained
    data: Photos
    split: str
    root: Path
    settings: InterpretSettings
    photos: list[Photo]
    observed: Observed
    all: Interpretation
    found: Interpretation
    places: list[int]
    temperature: float
    calibration: tuple[Reliability, Reliability]
    kernels: Tensor | None
    stages: list[Stage]
    suspects: pd.DataFrame
    references: Rows

    @property
    def view_accuracy(self) -> dict[str, float]:
        """The accuracy on the split of every view alone."""
        by_view = np.array([self.observed.by_view[place] for place in self.places])
        right = (by_view == self.found.labels[:, None]).mean(0)
        return dict(zip(NAMES, right.tolist(), strict=False))

    def neighbours(self, rows: list[int]) -> dict[int, list[Neighbour]]:
        """The nearest training photos of rows of `found`; none where no training photo passed."""
        k = self.settings.neighbours
        if not rows or not len(self.references) or not k:
            return {row: [] for row in rows}
        features = self.observed.features
        own = {place: i for i, place in enumerate(self.references.tolist())}
        asked = [self.places[row] for row in rows]
        near = nearest(
            np.array([features[place] for place in asked]),
            np.array([features[place] for place in self.references.tolist()]),
            k,
            itself=np.array([own.get(place, -1) for place in asked]),
        )
        return {
            row: [
                Neighbour(int(place), self.photos[place].label, float(alike))
                for place, alike in zip(self.references[found], similarity, strict=True)
            ]
            for row, found, similarity in zip(rows, *near, strict=True)
        }


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
    asked = others.of(OTHER) if others is not None else photos.of(split)
    studied = asked + (photos.of(VALID) if split != VALID else [])
    reference = photos.of(TRAIN) if settings.neighbours and split != TRAIN else []
    rows = studied + reference
    roots = [photos.root if row.split != OTHER or others is None else others.root for row in rows]
    paths = [root / row.path for root, row in zip(roots, rows, strict=True)]

    class_index = {name: i for i, name in enumerate(model.classes)}
    cut = len(studied)
    parts = [(range(cut), NAMES[: settings.tta]), (range(cut, len(rows)), NAMES[:1])]
    observer = Observer(
        model,
        [
            SeenPhotos([paths[p] for p in part], part, Views(names, model.size, model.preprocess))
            for part, names in parts
            if len(part)
        ],
        [class_index[row.label] for row in rows],
        config.data,
        TopPatches(model.body, model.size, settings.channels, settings.patches)
        if settings.channels
        else None,
    )
    bar = [ProgressBar()] if "progress_bar" in config.callbacks else []
    observed = observe(
        observer, trainer({**config.trainer, "inference_mode": False}, callbacks=bar)
    )
    for problem in list(observed.problems.values())[:LINES]:
        log.warning("left out: %s", problem)
    if len(observed.problems) > LINES:
        log.warning("left out: %s more", f"{len(observed.problems) - LINES:,}")
    seen_at = others or photos
    return _read(trained, split, settings, rows, observed, observer.patches, photos, seen_at)


def _read(
    trained: Trained,
    split: str,
    settings: InterpretSettings,
    rows: list[Photo],
    observed: Observed,
    patches: TopPatches | None,
    data: Photos,
    photos: Photos,
) -> Study:
    classes = trained.model.classes
    places = observed.places
    passed = [rows[place] for place in places]
    logs = np.array([observed.log_probabilities[place] for place in places])
    everything = Interpretation.of_arrays(
        [row.path for row in passed],
        [row.split for row in passed],
        [row.label for row in passed],
        logs.reshape(len(places), len(classes)),
        classes,
    )
    found, valid = everything.of(split), everything.of(VALID)
    if not len(found):
        raise DataError(f"{photos.root}: none of the {split} photos could be read")
    temperature = fit_temperature(valid.log_probabilities, valid.labels)
    cooled = np.exp(at_temperature(everything.log_probabilities, temperature))
    mine = (everything.table["split"] == split).to_numpy()
    return Study(
        trained=trained,
        data=data,
        split=split,
        root=photos.root,
        settings=settings,
        photos=rows,
        observed=observed,
        all=everything,
        found=found,
        places=[place for place, own in zip(places, mine, strict=True) if own],
        temperature=temperature,
        calibration=(
            reliability(found.probabilities.max(1), found.correct),
            reliability(cooled[mine].max(1), found.correct),
        ),
        kernels=first_kernels(trained.model.body),
        stages=patches.stages if patches else [],
        suspects=_suspects(everything, cooled, observed, trained.config.seed),
        references=np.array(
            [p for p, row in zip(places, passed, strict=True) if row.split == TRAIN], dtype=np.int64
        ),
    )


def _suspects(
    everything: Interpretation, cooled: Floats, observed: Observed, seed: int
) -> pd.DataFrame:
    """Suspects among all photos that passed: held-out ones by the network, calibrated; training
    photos, whose labels it has seen, by a model fitted on the others of them."""
    probabilities, labels = cooled.copy(), everything.labels
    trained = np.flatnonzero((everything.table["split"] == TRAIN).to_numpy())
    if len(trained):
        features = np.array([observed.features[observed.places[row]] for row in trained])
        probabilities[trained] = held_out_probabilities(
            features.astype(np.float32), labels[trained], len(everything.classes), seed
        )
    found = find_suspects(labels, probabilities)
    return suspects_table(everything.table, probabilities, everything.classes, found)


def summary(study: Study) -> dict[str, Any]:
    """What a summary says of a study: plain values, for cards, tables and scripts."""
    found, (before, after) = study.found, study.calibration
    report = found.classification_report()
    low, high = accuracy_interval(found.correct)
    return {
        "split": study.split,
        "photos": len(found),
        "unreadable": list(study.observed.problems.values()),
        "accuracy": found.accuracy,
        "accuracy_interval": [low, high],
        "error_rate": 1 - found.accuracy,
        "mean_class_accuracy": float(report["recall"].mean()),
        "loss": float(found.table["loss"].mean()),
        "views": study.view_accuracy,
        "temperature": study.temperature,
        "ece": before.ece,
        "ece_at_temperature": after.ece,
        "most_confused": [list(pair) for pair in found.most_confused()[:50]],
        "suspects": len(study.suspects),
    }


def accuracy_interval(correct: Mask) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: how far chance alone may have moved it."""
    found = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
