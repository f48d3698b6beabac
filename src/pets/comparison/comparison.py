"""Compare two trained runs on photos that neither of them was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pets.callbacks.progress import ProgressBar
from pets.comparison.paired import Paired, by_class
from pets.comparison.selection import Chosen, choose
from pets.config import CompareConfig
from pets.data.photos import Photo
from pets.data.views import NAMES, Views
from pets.distributed.lightning import single_process
from pets.errors import DataError, some
from pets.interpretation.calibration import Reliability, at_temperature, reliability
from pets.interpretation.extraction import Extracted, Extractor, ViewsDataset, extract
from pets.interpretation.interpretation import Floats, Interpretation
from pets.io.figures import plain
from pets.io.pictures import TITLE, as_pixels, grid
from pets.training.checkpoints import Trained
from pets.training.looks import COUNTED, Looks, count_look, count_look_among, looks_at
from pets.training.trainer import build_trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """One of the two runs, with its predictions for the photos.

    Attributes:
        trained: The run.
        predictions: Its predictions among the classes that both runs have.
        extracted: What its network computed for every photo of the pass, by index.
        indices: The index in `extracted` of each row of `predictions`.
    """

    trained: Trained
    predictions: Interpretation
    extracted: Extracted
    indices: list[int]

    @property
    def name(self) -> str:
        """The path of the run."""
        return str(self.trained.run.path)

    @cached_property
    def choices(self) -> list[str]:
        """The most probable of all the run's classes for each photo; Grad-CAM explains it."""
        logs = [self.extracted.log_probabilities[index] for index in self.indices]
        return [self.trained.model.classes[int(values.argmax())] for values in logs]

    @property
    def choices_outside(self) -> int:
        """The number of photos whose choice is a class that the other run does not have."""
        return sum(choice not in self.predictions.classes for choice in self.choices)

    @cached_property
    def calibrated_log_probabilities(self) -> Floats:
        """The log-probabilities (photos, classes) at the run's own temperature."""
        return at_temperature(self.predictions.log_probabilities, self.trained.temperature or 1.0)

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats at the run's own temperature."""
        logs, labels = self.calibrated_log_probabilities, self.predictions.labels
        return float(-logs[np.arange(len(labels)), labels].mean())

    @property
    def reliability(self) -> Reliability:
        """The reliability diagram at the run's own temperature."""
        confidence = np.exp(self.calibrated_log_probabilities).max(1)
        return reliability(confidence, self.predictions.correct)

    def cam(self, row: int) -> Floats | None:
        """Return the Grad-CAM (h, w) of a photo's choice, 0 to 255; None if there is none."""
        maps = self.extracted.cams.get(self.indices[row])
        return None if maps is None else maps[0].numpy()


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same photos; row i of every table is `photos[i]`.

    Attributes:
        old: The run to compare with.
        new: The run in question.
        split: The split of the new run that the photos are from, or `other`.
        root: The folder that the photos' paths are below.
        photos: The photos on which both runs have predictions.
        notes: What was left out and what to be careful of, in sentences.
        looks: How often the photos were looked at; None for validation photos.
    """

    old: Side
    new: Side
    split: str
    root: Path
    photos: list[Photo]
    notes: list[str]
    looks: Looks | None

    @property
    def classes(self) -> list[str]:
        """The classes that both runs have."""
        return self.new.predictions.classes

    @cached_property
    def paired(self) -> Paired:
        """The number of photos that both runs, only one or neither of them gets right."""
        return Paired.of(self.old.predictions.correct, self.new.predictions.correct)

    @cached_property
    def per_class(self) -> dict[str, Paired]:
        """The same numbers for each class that has photos."""
        correct = self.old.predictions.correct, self.new.predictions.correct
        return by_class(self.new.predictions.labels, self.classes, *correct)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per photo: path, label, and both runs' predictions.

        `p_old` and `p_new` are the probabilities of the label, before temperature scaling. `flip`
        is `won` if only the new run is right, `lost` if only the old one is, else empty.
        """
        old, new = self.old.predictions, self.new.predictions
        rows = np.arange(len(self.photos))
        won, lost = new.correct & ~old.correct, old.correct & ~new.correct
        return pd.DataFrame({
            "path": new.table["path"], "label": new.table["label"],
            "old": old.table["prediction"], "new": new.table["prediction"],
            "p_old": old.probabilities[rows, old.labels],
            "p_new": new.probabilities[rows, new.labels],
            "flip": np.select([won, lost], ["won", "lost"], ""),
        })  # fmt: skip

    def flips(self, way: str) -> pd.DataFrame:
        """Return the rows of the photos that the new run has `won` or `lost`.

        The largest change of the label's probability comes first.
        """
        rows = self.table[self.table["flip"] == way]
        change = (rows["p_new"] - rows["p_old"]).abs()
        return rows.loc[change.sort_values(ascending=False, kind="stable").index]

    @property
    def differently_wrong(self) -> int:
        """The number of photos for which the runs predict two different wrong classes."""
        wrong = ~self.old.predictions.correct & ~self.new.predictions.correct
        return int((wrong & (self.table["old"] != self.table["new"]).to_numpy()).sum())

    def plot_flips(self, way: str = "lost", k: int = 4) -> Figure:
        """Draw up to `k` photos that flipped, each with the Grad-CAM of the old and the new run."""
        shown, titles, heat = [], [], list[np.ndarray]()
        for row in self.flips(way).index[:k]:
            for word, side in (("old", self.old), ("new", self.new)):
                index, cam = side.indices[row], side.cam(row)
                shown.append(as_pixels(side.extracted.thumbnails[index]))
                choice, label = f"{word}: {side.choices[row]}", f"is {self.photos[row].label}"
                titles.append(f"{plain(choice, TITLE)}\n{plain(label, TITLE)}")
                heat.append(np.zeros((1, 1)) if cam is None else cam / 255)
        if not shown:
            raise DataError(f"{way}: no photo flipped this way")
        return grid(shown, titles, columns=min(4, len(shown)), heat=heat)


def compare_runs(old: Trained, new: Trained, config: CompareConfig) -> Comparison:
    """Compare two runs on photos that neither was trained on, and count a look for each.

    Raises:
        ConfigError: The options contradict each other.
        DataError: A run was trained on some of the photos, or none are left.
        RunError: The runs have no two classes in common, or a file of theirs does not fit.
    """
    chosen = choose(old, new, config)
    for note in chosen.notes:
        log.info("%s", note)
    count = f"{len(chosen.photos):,}"
    log.info("comparing on %s %s photos of %s", count, chosen.split, chosen.root)
    passes = [_extract(trained, chosen.root, chosen.photos) for trained in (old, new)]
    notes = [*chosen.notes]
    if problems := passes[0].problems | passes[1].problems:
        notes.append(f"Left out {len(problems):,} unreadable photos: {some([*problems.values()])}.")
        log.warning("%s", notes[-1])
    readable = [index for index in passes[1].indices if index in passes[0].log_probabilities]
    if not readable:
        raise DataError(f"{chosen.root}: none of the {chosen.split} photos could be read")
    photos = [chosen.photos[index] for index in readable]
    sides = [
        Side(trained, _predictions(trained, one, readable, photos, chosen.classes), one, readable)
        for trained, one in zip((old, new), passes, strict=True)
    ]
    looks = _count_looks(chosen, old, new) if chosen.split in COUNTED else None
    for trained in (old, new):
        if note := count_look_among(trained.run, chosen.contents, "compare"):
            notes.append(note)
            log.info("%s", note)
    return Comparison(sides[0], sides[1], chosen.split, chosen.root, photos, notes, looks)


def _count_looks(chosen: Chosen, old: Trained, new: Trained) -> Looks:
    """Count a look of each run at the photos, and return all looks at them."""
    for trained in (old, new):
        count_look(trained.run, chosen.contents, "compare")
    return looks_at(chosen.contents, old.run, new.run)


def _extract(trained: Trained, root: Path, photos: Sequence[Photo]) -> Extracted:
    """Pass the photos through a run's network, for predictions and Grad-CAMs."""
    model, config = trained.model, trained.config
    views = Views(NAMES[:1], model.size, model.preprocess)
    dataset = ViewsDataset([root / p.path for p in photos], range(len(photos)), views)
    targets = [model.classes.index(photo.label) for photo in photos]
    extractor = Extractor(model, [dataset], targets, config.data)
    bar = [ProgressBar()] if "progress_bar" in config.callbacks else []
    # Grad-CAM needs gradients, which inference mode cannot give.
    values = {**single_process(config.trainer), "inference_mode": False}
    return extract(extractor, build_trainer(values, callbacks=bar))


def _predictions(
    trained: Trained, extracted: Extracted, indices: list[int], photos: Sequence[Photo],
    classes: list[str],
) -> Interpretation:  # fmt: skip
    """Return a run's predictions for the photos, as if it had only these classes."""
    logs = np.array([extracted.log_probabilities[index].numpy() for index in indices])
    columns = [trained.model.classes.index(name) for name in classes]
    return Interpretation.of_photos(photos, at_temperature(logs[:, columns], 1.0), classes)
