"""Analysis of a trained model on a split: one pass, and everything that is computed from it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
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
from pets.interpretation.dataset import ViewsDataset
from pets.interpretation.extraction import Extracted, Extractor, extract
from pets.interpretation.interpretation import Interpretation
from pets.interpretation.layers import Stage, TopPatches, first_kernels
from pets.interpretation.rows import Floats, nearest
from pets.interpretation.suspects import find_suspects, held_out_probabilities, suspects_table
from pets.metrics import METRICS
from pets.training.evaluation import Trained
from pets.training.trainer import trainer

log = logging.getLogger(__name__)
_PAIRS = 1_000_000_000  # comparisons of two photos that are done for a warning
_DERIVED = {"loss", "accuracy", "error_rate", "mean_class_accuracy"}
LINES = 20  # about photos that cannot be read; the report and the summary name them all


@dataclass(frozen=True)
class Neighbour:
    """A training photo near another photo in the backbone's feature space."""

    index: int
    label: str
    similarity: float


@dataclass(frozen=True)
class Analysis:
    """A model's predictions on photos of one pass, and all that a report shows of them.

    Attributes:
        trained: the run, its config and its network.
        split: the split that the report is about.
        settings: what is computed, and how much of it is shown.
        data: all photos of the run.
        root: the folder of the photos of the split.
        photos: the photos of the pass, by index.
        extracted: what the pass computed, by the same index.
        stages: the stages of the backbone with the strongest patches of their channels.
    """

    trained: Trained
    split: str
    settings: InterpretSettings
    data: Photos
    root: Path
    photos: list[Photo]
    extracted: Extracted
    stages: list[Stage]

    @cached_property
    def all_predictions(self) -> Interpretation:
        """The predictions of every photo that could be read; row i is `extracted.indices[i]`."""
        indices, classes = self.extracted.indices, self.trained.model.classes
        passed = [self.photos[index] for index in indices]
        logs = np.array([self.extracted.log_probabilities[index] for index in indices])
        return Interpretation.of_arrays(
            [row.path for row in passed],
            [row.split for row in passed],
            [row.label for row in passed],
            logs.reshape(len(indices), len(classes)),
            classes,
        )

    @cached_property
    def predictions(self) -> Interpretation:
        """The predictions of the split."""
        return self.all_predictions.of(self.split)

    @cached_property
    def indices(self) -> list[int]:
        """Which photo of the pass each row of `predictions` is."""
        return self._indices_of(self.split)

    @property
    def kernels(self) -> Tensor | None:
        """The first kernels, (n, 3, h, w)."""
        return first_kernels(self.trained.model.backbone)

    @property
    def calibrated(self) -> bool:
        """Whether there were validation photos to fit a temperature on."""
        return bool(self._indices_of(VALID))

    @cached_property
    def temperature(self) -> float:
        """Fitted on the validation photos; 1 where there are none."""
        valid = self.all_predictions.of(VALID)
        return fit_temperature(valid.log_probabilities, valid.labels)

    @cached_property
    def seen_in_training(self) -> int:
        """How many photos of the split are, as the network sees them, the same as a training photo
        (cosine of their features above 0.999): each flatters the accuracy."""
        train = self._indices_of(TRAIN)
        if self.split == TRAIN or not train or len(train) * len(self.indices) > _PAIRS:
            return 0
        near = nearest(self._features(self.indices), self._features(train), 1)
        return int((near.similarity[:, 0] > 0.999).sum())

    @cached_property
    def calibration(self) -> tuple[Reliability, Reliability]:
        """Of the split: as predicted, and at the temperature."""
        predictions = self.predictions
        cooled = np.exp(at_temperature(predictions.log_probabilities, self.temperature))
        return (
            reliability(predictions.probabilities.max(1), predictions.correct),
            reliability(cooled.max(1), predictions.correct),
        )

    @cached_property
    def suspects(self) -> pd.DataFrame:
        """Suspects among all photos that passed: held-out ones by the network, calibrated; training
        photos, whose labels it has seen, by a model fitted on the others of them."""
        predictions, labels = self.all_predictions, self.all_predictions.labels
        probabilities = np.exp(at_temperature(predictions.log_probabilities, self.temperature))
        trained = (predictions.table["split"] == TRAIN).to_numpy()
        if trained.any():
            features = self._features(self._indices_of(TRAIN))
            probabilities[trained] = held_out_probabilities(
                features, labels[trained], len(predictions.classes), self.trained.config.seed
            )
        rows = find_suspects(labels, probabilities)
        if self.split == OTHER:
            # A table for data.relabel is about one folder.
            rows = rows[(predictions.table["split"] == OTHER).to_numpy()[rows]]
        return suspects_table(predictions.table, probabilities, predictions.classes, rows)

    @cached_property
    def added_metrics(self) -> dict[str, float]:
        """The registered metrics that are not derived from `predictions` otherwise, by name."""
        logits = torch.from_numpy(self.predictions.log_probabilities)
        targets = torch.from_numpy(self.predictions.labels)
        values = {}
        for name in [name for name in METRICS if name not in _DERIVED]:
            metric = METRICS[name].make(len(self.predictions.classes))
            metric.sync_on_compute = False  # this rank has the predictions of all
            metric.update(logits, targets)
            values[name] = float(metric.compute())
        return values

    @property
    def view_accuracy(self) -> dict[str, float]:
        """The accuracy on the split of every view alone."""
        by_view = np.array([self.extracted.by_view[index] for index in self.indices])
        right = (by_view == self.predictions.labels[:, None]).mean(0)
        return dict(zip(NAMES, right.tolist(), strict=False))

    def neighbours(self, rows: list[int]) -> dict[int, list[Neighbour]]:
        """The nearest training photos of rows of `predictions`, by row."""
        k, train = self.settings.neighbours, self._indices_of(TRAIN)
        if not rows or not train or not k:
            return {row: [] for row in rows}
        own = {index: i for i, index in enumerate(train)}
        asked = [self.indices[row] for row in rows]
        itself = np.array([own.get(index, -1) for index in asked])
        near = nearest(self._features(asked), self._features(train), k, itself)
        return {
            row: [
                Neighbour(train[i], self.photos[train[i]].label, float(alike))
                for i, alike in zip(nearest_rows, similarity, strict=True)
            ]
            for row, nearest_rows, similarity in zip(rows, *near, strict=True)
        }

    def summary(self) -> dict[str, Any]:
        """The numbers of the analysis as plain values, as `summary.json` has them."""
        predictions, (before, after) = self.predictions, self.calibration
        report = predictions.classification_report()
        return {
            "split": self.split,
            "photos": len(predictions),
            "unreadable": list(self.extracted.problems.values()),
            "accuracy": predictions.accuracy,
            "accuracy_interval": list(predictions.accuracy_interval),
            "error_rate": 1 - predictions.accuracy,
            "mean_class_accuracy": float(report["recall"].mean()),
            "loss": float(predictions.table["loss"].mean()),
            **self.added_metrics,
            "views": self.view_accuracy,
            "same_as_training_photos": self.seen_in_training,
            "temperature": self.temperature if self.calibrated else None,
            "ece": before.ece,
            "ece_at_temperature": after.ece,
            "most_confused": [list(pair) for pair in predictions.most_confused()[:50]],
            "suspects": len(self.suspects),
        }

    def _indices_of(self, split: str) -> list[int]:
        return [index for index in self.extracted.indices if self.photos[index].split == split]

    def _features(self, indices: list[int]) -> Floats:
        return np.array([self.extracted.features[index] for index in indices], dtype=np.float32)


def analyse(
    trained: Trained,
    photos: Photos,
    split: str,
    settings: InterpretSettings,
    others: Photos | None = None,
) -> Analysis:
    """Pass photos through the network once and return the analysis.

    Beside the split these are the validation photos, for calibration, and the training photos, for
    neighbours and suspects.

    Args:
        trained: the run.
        photos: the run's own photos.
        split: the split to analyse.
        settings: what is computed.
        others: photos that are not the run's; they are the split `other`.

    Raises:
        DataError: no photo of the split can be read.
    """
    config, model = trained.config, trained.model
    here = others or photos
    asked = here.of(split)
    analysed = asked + (photos.of(VALID) if split != VALID else [])
    reference = photos.of(TRAIN) if settings.neighbours and split != TRAIN else []
    rows = analysed + reference
    paths = [(here if row.split == split else photos).root / row.path for row in rows]

    also = {VALID: len(analysed) - len(asked), TRAIN: len(reference)}
    more = ", ".join(f"{count:,} {name}" for name, count in also.items() if count)
    log.info("analysing %s %s photos%s", f"{len(asked):,}", split, more and f", with {more} photos")
    cut = len(analysed)
    parts = [(range(cut), NAMES[: settings.tta]), (range(cut, len(rows)), NAMES[:1])]
    datasets = [
        ViewsDataset([paths[p] for p in part], part, Views(names, model.size, model.preprocess))
        for part, names in parts
        if len(part)
    ]
    targets = [model.classes.index(row.label) for row in rows]
    patches = None
    if settings.channels:
        patches = TopPatches(model.backbone, model.size, settings.channels, settings.patches)
    extractor = Extractor(model, datasets, targets, config.data, patches)
    bar = [ProgressBar()] if "progress_bar" in config.callbacks else []
    extracted = extract(
        extractor, trainer({**config.trainer, "inference_mode": False}, callbacks=bar)
    )
    for problem in list(extracted.problems.values())[:LINES]:
        log.warning("left out: %s", problem)
    if len(extracted.problems) > LINES:
        log.warning("left out: %s more", f"{len(extracted.problems) - LINES:,}")
    stages = patches.stages if patches else []
    analysis = Analysis(trained, split, settings, photos, here.root, rows, extracted, stages)
    if not analysis.indices:
        raise DataError(f"{here.root}: none of the {split} photos could be read")
    if analysis.seen_in_training:
        log.warning(
            "%s of the %s %s photos are the same as training photos: the accuracy is flattered",
            f"{analysis.seen_in_training:,}", f"{len(analysis.indices):,}", split,
        )  # fmt: skip
    return analysis
