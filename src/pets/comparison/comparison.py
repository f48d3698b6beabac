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
from pets.config import CompareConfig
from pets.data.photos import OTHER, Photo, Photos
from pets.data.splits import TRAIN, VALID
from pets.data.views import NAMES, Views
from pets.distributed.lightning import single_process
from pets.errors import DataError, RunError, some
from pets.interpretation.calibration import Reliability, at_temperature, reliability
from pets.interpretation.extraction import Extracted, Extractor, ViewsDataset, extract
from pets.interpretation.interpretation import Floats, Interpretation
from pets.io.figures import plain
from pets.io.pictures import TITLE, as_pixels, grid
from pets.training.checkpoints import Trained
from pets.training.evaluation import select_photos
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
        """One row per photo: path, label, the prediction of each run, the probability that each
        gives to the label, and `flip`: won, lost, or nothing."""
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
        """Return the photos that the new run has `won` or `lost`, the largest change of the label's
        probability first."""
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

    The photos are held-out ones of the new run with its labels, or external ones. A photo is told
    by its bytes, whatever its name: of copies, the first counts; a recompressed or resized copy of
    a photo that a run was trained on is not recognised.

    Raises:
        ConfigError: The options contradict each other.
        DataError: A run was trained on some of the photos, or none are left.
        RunError: The runs have no two classes in common, or a file of theirs does not fit.
    """
    classes = _common_classes(old, new)
    asked = select_photos(new, config.data, config.split)
    here, contents = asked.external or asked.own, asked.contents
    by_content: dict[str, Photo] = {}
    for content, photo in zip(contents, here.of(asked.split), strict=True):
        by_content.setdefault(content.hex(), photo)
    notes = _class_notes(old, new, classes, by_content)
    if copies := len(contents) - len(by_content):
        notes.append(f"Left out {copies:,} copies: each picture counts once.")
    rows = {content: p for content, p in by_content.items() if p.label in classes}
    tables = [Photos.load(t.run.path / "photos.csv", here.root) for t in (old, new)]
    rows = _never_trained_on(rows, tables, config, asked.split, notes)
    notes += _table_notes(rows, tables, asked.split)
    for note in notes:
        log.info("%s", note)
    photos = list(rows.values())
    log.info("comparing on %s %s photos of %s", f"{len(photos):,}", asked.split, here.root)
    passes = [_extract(trained, here.root, photos) for trained in (old, new)]
    for problem in dict.fromkeys(p for one in passes for p in one.problems.values()):
        log.warning("left out: %s", problem)
        notes.append(f"Left out: {problem}.")
    indices = [i for i in passes[1].indices if i in passes[0].log_probabilities]
    if not indices:
        raise DataError(f"{here.root}: none of the {asked.split} photos could be read")
    photos = [photos[index] for index in indices]
    sides = [
        Side(trained, _predictions(trained, one, indices, photos, classes), one, indices)
        for trained, one in zip((old, new), passes, strict=True)
    ]
    looks = None
    if asked.split in COUNTED:
        for side in sides:
            count_look(side.trained.run, contents, "compare")
        looks = looks_at(contents, old.run, new.run)
    return Comparison(*sides, asked.split, here.root, photos, notes, looks)


def _common_classes(old: Trained, new: Trained) -> list[str]:
    theirs, own = old.model.classes, new.model.classes
    common = [name for name in own if name in theirs]
    if len(common) < 2:
        only = f"only {common[0]}" if common else "none"
        raise RunError(
            f"old={old.run.path}: of its classes ({some(theirs)}) new={new.run.path} has {only} "
            f"({some(own)}); expected two runs with at least two classes in common"
        )
    return common


def _class_notes(
    old: Trained, new: Trained, classes: list[str], rows: dict[str, Photo]
) -> list[str]:
    notes = []
    for word, trained in (("old", old), ("new", new)):
        if other := [name for name in trained.model.classes if name not in classes]:
            notes.append(f"Classes of the {word} run alone: {some(other)}.")
    if notes:
        out = sum(photo.label not in classes for photo in rows.values())
        notes.append(
            f"Both runs choose among the {len(classes):,} classes that they have in common; "
            f"{out:,} photos of other classes are left out."
        )
    return notes


def _never_trained_on(
    rows: dict[str, Photo], tables: Sequence[Photos], config: CompareConfig, split: str,
    notes: list[str],
) -> dict[str, Photo]:  # fmt: skip
    """Return the photos that neither run was trained on. Raises DataError, unless `leave_out`."""
    of_run = [{p.content for p in table.of(TRAIN)} & rows.keys() for table in tables]
    left = {content: p for content, p in rows.items() if content not in of_run[0] | of_run[1]}
    names = (f"old={config.old}", f"new={config.new}")
    counts = [
        f"{len(mine):,} are training photos of {name}"
        for name, mine in zip(names, of_run, strict=True)
        if mine
    ]
    what = f"of the {len(rows):,} {split} photos {' and '.join(counts)}"
    if counts and left and config.leave_out:
        notes.append(f"Left out: {what}.")
    elif counts:
        rest = f"; leave_out=true compares on the {len(left):,} others" if left else ""
        raise DataError(
            f"{what}, which has seen their labels{rest}; data.root=<folder> on photos from "
            "elsewhere"
        )
    if not left:
        raise DataError(f"{names[1]}: no {split} photo of a class that both runs have")
    return left


def _table_notes(rows: dict[str, Photo], tables: Sequence[Photos], split: str) -> list[str]:
    """Say what the runs' own tables know of the photos."""
    notes = []
    for word, table in zip(("old", "new"), tables, strict=True):
        chosen = sum(p.split == VALID and p.content in rows for p in table.rows)
        if chosen:
            notes.append(
                f"{chosen:,} are validation photos of the {word} run, by which its best epoch and "
                "its temperature were chosen: it may look a little better than it is."
            )
        known = [p for p in table.rows if p.content in rows]
        if other := sum(p.label != rows[p.content].label for p in known):
            counts = "the one given here" if split == OTHER else "the new run's"
            notes.append(f"{other:,} have another label in the {word} run; {counts} counts.")
    return notes


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
