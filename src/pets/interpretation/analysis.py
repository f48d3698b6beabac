"""Analysis of a trained model on a split: one pass, and everything that is computed from it."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pets.callbacks.progress import ProgressBar
from pets.config import InterpretSettings
from pets.config.commands import COVERAGE
from pets.data.photos import OTHER, Photo, Photos
from pets.data.splits import TRAIN, VALID
from pets.data.views import NAMES, Views
from pets.distributed.lightning import single_process
from pets.errors import DataError
from pets.interpretation.calibration import (
    Reliability,
    at_temperature,
    fit_temperature,
    reliability,
)
from pets.interpretation.curves import Curve, curves
from pets.interpretation.extraction import Extracted, Extractor, ViewsDataset, extract
from pets.interpretation.interpretation import Floats, Interpretation
from pets.interpretation.layers import BackboneStage, TopPatches, first_kernels
from pets.interpretation.suspects import (
    find_suspects,
    held_out_probabilities,
    nearest,
    suspects_table,
)
from pets.training.checkpoints import Trained
from pets.training.measures import measured
from pets.training.trainer import build_trainer
from pets.unsure.conformal import (
    Reached,
    TooFewPhotosError,
    fit_thresholds,
    measure,
    measure_halves,
)

log = logging.getLogger(__name__)
_PAIRS = 1_000_000_000  # skip the duplicate check above this many pairwise comparisons
_DERIVED = {"loss", "accuracy", "error_rate", "mean_class_accuracy"}
_LINES = 20  # logged about unreadable photos; the report and the summary list all of them


@dataclass(frozen=True)
class Analysis:
    """A model's predictions on the photos of one pass, and everything derived from them.

    Attributes:
        trained: The trained run.
        split: The split that the report is about.
        settings: Settings of the report.
        data: All photos of the run.
        root: Folder of the photos of `split`.
        photos: The photos of the pass.
        extracted: What the pass computed, by index in `photos`.
        stages: Stages of the backbone with the strongest patches of their channels.
    """

    trained: Trained
    split: str
    settings: InterpretSettings
    data: Photos
    root: Path
    photos: list[Photo]
    extracted: Extracted
    stages: list[BackboneStage]

    @cached_property
    def all_predictions(self) -> Interpretation:
        """The predictions for every readable photo; row i is `extracted.indices[i]`."""
        indices, classes = self.extracted.indices, self.trained.model.classes
        logs = np.array([self.extracted.log_probabilities[index].numpy() for index in indices])
        photos = [self.photos[index] for index in indices]
        return Interpretation.of_photos(photos, logs.reshape(-1, len(classes)), classes)

    @cached_property
    def predictions(self) -> Interpretation:
        """The predictions of the split."""
        return self.all_predictions.of(self.split)

    @cached_property
    def indices(self) -> list[int]:
        """For each row of `predictions`, its index in the pass."""
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
        """Temperature fitted on the validation photos; 1 if there are none."""
        valid = self.all_predictions.of(VALID)
        return fit_temperature(valid.log_probabilities, valid.labels)

    @cached_property
    def train_duplicates(self) -> int:
        """Number of photos in the split that are near-duplicates of a training photo.

        Their features have a cosine similarity above 0.999. They inflate the accuracy.
        """
        train = self._indices_of(TRAIN)
        if self.split == TRAIN or not train or len(train) * len(self.indices) > _PAIRS:
            return 0
        _, similarity = nearest(self._features(self.indices), self._features(train), 1)
        return int((similarity[:, 0] > 0.999).sum())

    @cached_property
    def calibration(self) -> tuple[Reliability, Reliability]:
        """Reliability on the split, before and after temperature scaling."""
        predictions = self.predictions
        cooled = np.exp(at_temperature(predictions.log_probabilities, self.temperature))
        return (
            reliability(predictions.probabilities.max(1), predictions.correct),
            reliability(cooled.max(1), predictions.correct),
        )

    @cached_property
    def sets(self) -> Reached | None:
        """What sets of classes with a promised coverage reach on the split.

        None if there are too few validation photos, or if the split is the training photos.
        """
        valid, here = self.all_predictions.of(VALID), self.predictions
        fitted, probabilities = (
            np.exp(at_temperature(photos.log_probabilities, self.temperature))
            for photos in (valid, here)
        )
        try:
            if self.split == TRAIN:
                return None
            if self.split == VALID:
                return measure_halves(fitted, valid.labels, COVERAGE)
            least = fit_thresholds(fitted, valid.labels, COVERAGE).least
            return measure(probabilities, here.labels, least, COVERAGE, len(valid))
        except TooFewPhotosError:
            return None

    @cached_property
    def suspects(self) -> pd.DataFrame:
        """Likely label errors.

        Held-out photos are scored with the network's calibrated probabilities, training photos with
        out-of-fold probabilities of a model fitted on their features.
        """
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
            # A table for data.relabel covers a single folder.
            rows = rows[(predictions.table["split"] == OTHER).to_numpy()[rows]]
        return suspects_table(predictions.table, probabilities, predictions.classes, rows)

    @cached_property
    def added_metrics(self) -> dict[str, float]:
        """The run's metrics that are not computed elsewhere, by name."""
        logits = torch.from_numpy(self.predictions.log_probabilities)
        targets = torch.from_numpy(self.predictions.labels)
        values = {}
        metrics = measured(self.trained.config)
        for name in [name for name in metrics if name not in _DERIVED]:
            metric = metrics[name].make(len(self.predictions.classes))
            metric.sync_on_compute = False  # only one rank computes it
            metric.update(logits, targets)
            values[name] = float(metric.compute())
        return values

    @cached_property
    def curves(self) -> dict[str, list[Curve]]:
        """By kind, the curves that the run's metrics are the area under; see `curves`."""
        kinds = dict.fromkeys(m.curve for m in measured(self.trained.config).values() if m.curve)
        return {kind: curves(self.predictions, kind) for kind in kinds}

    @property
    def view_accuracy(self) -> dict[str, float]:
        """The accuracy on the split of each single view."""
        by_view = np.array([self.extracted.by_view[index].numpy() for index in self.indices])
        right = (by_view == self.predictions.labels[:, None]).mean(0)
        return dict(zip(NAMES, right.tolist(), strict=False))

    def neighbours(self, rows: list[int]) -> dict[int, list[tuple[int, float]]]:
        """Return the nearest training photos of rows of `predictions`: index, similarity by row."""
        k, train = self.settings.neighbours, self._indices_of(TRAIN)
        if not rows or not train or not k:
            return {row: [] for row in rows}
        own = {index: i for i, index in enumerate(train)}
        queries = [self.indices[row] for row in rows]
        itself = np.array([own.get(index, -1) for index in queries])
        near, similarity = nearest(self._features(queries), self._features(train), k, itself)
        return {
            row: [(train[i], float(alike)) for i, alike in zip(near_rows, alikes, strict=True)]
            for row, near_rows, alikes in zip(rows, near, similarity, strict=True)
        }

    def summary(self) -> dict[str, Any]:
        """Return the numbers of the analysis as plain values, for `summary.json`."""
        predictions, (before, after) = self.predictions, self.calibration
        return {
            "split": self.split,
            "photos": len(predictions),
            "unreadable": list(self.extracted.problems.values()),
            "accuracy": predictions.accuracy,
            "accuracy_interval": list(predictions.accuracy_interval),
            "error_rate": 1 - predictions.accuracy,
            "mean_class_accuracy": float(predictions.classification_report()["recall"].mean()),
            "loss": float(predictions.table["loss"].mean()),
            **self.added_metrics,
            "views": self.view_accuracy,
            "same_as_training_photos": self.train_duplicates,
            "temperature": self.temperature if self.calibrated else None,
            "ece": before.ece,
            "ece_at_temperature": after.ece,
            "sets": self.sets and {**asdict(self.sets), "coverage": self.sets.coverage},
            "most_confused": [list(pair) for pair in predictions.most_confused()[:50]],
            "suspects": len(self.suspects),
        }

    def _indices_of(self, split: str) -> list[int]:
        return [index for index in self.extracted.indices if self.photos[index].split == split]

    def _features(self, indices: list[int]) -> Floats:
        return torch.stack([self.extracted.features[index] for index in indices]).float().numpy()


def analyse(
    trained: Trained,
    photos: Photos,
    split: str,
    settings: InterpretSettings,
    external: Photos | None = None,
) -> Analysis:
    """Analyse `split` of the run, or external photos, in one pass.

    Validation photos are added for calibration, training photos for neighbours and suspects.

    Raises:
        DataError: No photo of the split can be read.
    """
    config, model, here = trained.config, trained.model, external or photos
    asked = here.of(split)
    valid = photos.of(VALID) if split != VALID else []
    train = photos.of(TRAIN) if settings.neighbours and split != TRAIN else []
    rows = asked + valid + train
    paths = [(here if row.split == split else photos).root / row.path for row in rows]
    also = {VALID: len(valid), TRAIN: len(train)}
    more = ", ".join(f"{count:,} {name}" for name, count in also.items() if count)
    log.info("analysing %s %s photos%s", f"{len(asked):,}", split, more and f", with {more} photos")

    analysed = len(asked) + len(valid)
    parts = [(range(analysed), NAMES[: settings.tta]), (range(analysed, len(rows)), NAMES[:1])]
    datasets = [
        ViewsDataset([paths[i] for i in part], part, Views(names, model.size, model.preprocess))
        for part, names in parts
        if part
    ]
    targets = [model.classes.index(row.label) for row in rows]
    patches = None
    if settings.channels:
        patches = TopPatches(model.backbone, model.size, settings.channels, settings.patches)
    extractor = Extractor(model, datasets, targets, config.data, patches)
    bar = [ProgressBar()] if "progress_bar" in config.callbacks else []
    values = {**single_process(config.trainer), "inference_mode": False}
    extracted = extract(extractor, build_trainer(values, callbacks=bar))

    problems = list(extracted.problems.values())
    for problem in problems[:_LINES]:
        log.warning("left out: %s", problem)
    if len(problems) > _LINES:
        log.warning("left out: %s more", f"{len(problems) - _LINES:,}")
    stages = patches.stages if patches else []
    analysis = Analysis(trained, split, settings, photos, here.root, rows, extracted, stages)
    if not analysis.indices:
        raise DataError(f"{here.root}: none of the {split} photos could be read")
    if duplicates := analysis.train_duplicates:
        log.warning(
            "%s of the %s %s photos are near-duplicates of training photos: the accuracy is "
            "inflated",
            f"{duplicates:,}", f"{len(analysis.indices):,}", split,
        )  # fmt: skip
    return analysis
