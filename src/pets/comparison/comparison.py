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
from pets.comparison.selection import choose
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
from pets.training.looks import COUNTED, Looks, count_look, looks_at
from pets.training.trainer import build_trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """One of the two runs on the photos.

    Attributes:
        trained: The run.
        predictions: What it predicts among the classes that both runs have.
        extracted: What its pass computed, by index in the pass.
        indices: For each row of `predictions`, its index in the pass.
    """

    trained: Trained
    predictions: Interpretation
    extracted: Extracted
    indices: list[int]

    @property
    def name(self) -> str:
        return str(self.trained.run.path)

    @cached_property
    def choices(self) -> list[str]:
        """The most probable of all its own classes for each photo: what Grad-CAM is drawn for."""
        logs = [self.extracted.log_probabilities[index] for index in self.indices]
        return [self.trained.model.classes[int(values.argmax())] for values in logs]

    @property
    def outside(self) -> int:
        """For how many photos its choice is a class that the other run does not have."""
        return sum(choice not in self.predictions.classes for choice in self.choices)

    @cached_property
    def calibrated(self) -> Floats:
        """The log-probabilities at the run's own temperature."""
        return at_temperature(self.predictions.log_probabilities, self.trained.temperature or 1.0)

    @property
    def loss(self) -> float:
        """The mean loss at the run's own temperature, in nats."""
        return float(-self.calibrated[np.arange(len(self.indices)), self.predictions.labels].mean())

    @property
    def reliability(self) -> Reliability:
        """The reliability at the run's own temperature."""
        return reliability(np.exp(self.calibrated).max(1), self.predictions.correct)

    def cam(self, row: int) -> Floats | None:
        """Grad-CAM (h, w) in 0..255 for its choice; None if the network has no map to credit."""
        maps = self.extracted.cams.get(self.indices[row])
        return None if maps is None else maps[0].numpy()


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same photos; rows are those of both tables of predictions.

    Attributes:
        old: The run before.
        new: The run that is asked about.
        split: The split of the new run that the photos are, or `other`.
        root: The folder of the photos.
        photos: The photos that were compared.
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
        return Paired.of(self.old.predictions.correct, self.new.predictions.correct)

    @cached_property
    def per_class(self) -> dict[str, Paired]:
        """The counts of each class that has photos."""
        correct = self.old.predictions.correct, self.new.predictions.correct
        return by_class(self.new.predictions.labels, self.classes, *correct)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per photo of both runs.

        The columns are path, label, the prediction of each run, the probability that each gives to
        the label, and `flip`: won, lost, or nothing.
        """
        old, new = self.old.predictions, self.new.predictions
        rows = np.arange(len(self.photos))
        flip = np.where(new.correct & ~old.correct, "won", "")
        return pd.DataFrame({
            "path": new.table["path"], "label": new.table["label"],
            "old": old.table["prediction"], "new": new.table["prediction"],
            "p_old": old.probabilities[rows, old.labels],
            "p_new": new.probabilities[rows, new.labels],
            "flip": np.where(old.correct & ~new.correct, "lost", flip),
        })  # fmt: skip

    def flips(self, way: str) -> pd.DataFrame:
        """Return the photos that the new run has `won` or `lost`, the largest change first.

        The change is that of the label's probability.
        """
        rows = self.table[self.table["flip"] == way]
        change = (rows["p_new"] - rows["p_old"]).abs()
        return rows.loc[change.sort_values(ascending=False, kind="stable").index]

    @property
    def differently_wrong(self) -> int:
        """How many photos both runs get wrong, each with another class."""
        wrong = ~self.old.predictions.correct & ~self.new.predictions.correct
        return int((wrong & (self.table["old"] != self.table["new"]).to_numpy()).sum())

    def plot_flips(self, way: str = "lost", k: int = 4) -> Figure:
        """Draw up to `k` photos that flipped, each twice: what the old run saw, and the new one."""
        shown, titles, heat = [], [], list[np.ndarray]()
        for row in self.flips(way).index[:k]:
            for word, side in (("old", self.old), ("new", self.new)):
                index, cam = side.indices[row], side.cam(row)
                shown.append(as_pixels(side.extracted.thumbnails[index]))
                names = plain(f"{word}: {side.choices[row]}", TITLE)
                titles.append(f"{names}\n{plain(f'is {self.photos[row].label}', TITLE)}")
                heat.append(np.zeros((1, 1)) if cam is None else cam / 255)
        if not shown:
            raise DataError(f"{way}: no photo flipped this way")
        return grid(shown, titles, columns=min(4, len(shown)), heat=heat)


def compare_runs(old: Trained, new: Trained, config: CompareConfig) -> Comparison:
    """Predict the same photos with both runs, and count the look.

    Raises:
        ConfigError: The options contradict each other.
        DataError: A run was trained on some of the photos, or none are left.
        RunError: The runs have no two classes in common, or a file of theirs does not fit.
    """
    chosen = choose(old, new, config)
    photos, notes = chosen.photos, [*chosen.notes]
    for note in notes:
        log.info("%s", note)
    count = f"{len(photos):,}"
    log.info("comparing on %s %s photos of %s", count, chosen.split, chosen.root)
    passes = [_extract(trained, chosen.root, photos) for trained in (old, new)]
    if problems := {**passes[0].problems, **passes[1].problems}:
        notes.append(f"Left out {len(problems):,} unreadable photos: {some([*problems.values()])}.")
        log.warning("%s", notes[-1])
    indices = [i for i in passes[1].indices if i in passes[0].log_probabilities]
    if not indices:
        raise DataError(f"{chosen.root}: none of the {chosen.split} photos could be read")
    photos = [photos[index] for index in indices]
    sides = [
        Side(trained, _predictions(trained, one, indices, photos, chosen.classes), one, indices)
        for trained, one in zip((old, new), passes, strict=True)
    ]
    looks = None
    if chosen.split in COUNTED:
        for side in sides:
            count_look(side.trained.run, chosen.contents, "compare")
        looks = looks_at(chosen.contents, old.run, new.run)
    return Comparison(sides[0], sides[1], chosen.split, chosen.root, photos, notes, looks)


def _extract(trained: Trained, root: Path, photos: Sequence[Photo]) -> Extracted:
    """Pass the photos through a run's network, with Grad-CAM."""
    model, config = trained.model, trained.config
    views = Views(NAMES[:1], model.size, model.preprocess)
    dataset = ViewsDataset([root / p.path for p in photos], range(len(photos)), views)
    targets = [model.classes.index(photo.label) for photo in photos]
    extractor = Extractor(model, [dataset], targets, config.data)
    bar = [ProgressBar()] if "progress_bar" in config.callbacks else []
    values = {**single_process(config.trainer), "inference_mode": False}
    return extract(extractor, build_trainer(values, callbacks=bar))


def _predictions(
    trained: Trained, extracted: Extracted, indices: list[int], photos: Sequence[Photo],
    classes: list[str],
) -> Interpretation:  # fmt: skip
    """Return the predictions among some of a run's classes."""
    logs = np.array([extracted.log_probabilities[index].numpy() for index in indices])
    columns = [trained.model.classes.index(name) for name in classes]
    return Interpretation.of_photos(photos, at_temperature(logs[:, columns], 1.0), classes)
