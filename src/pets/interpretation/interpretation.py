"""The predictions table as an object with fastai's verbs; every report reads only it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from pets.errors import RunError
from pets.interpretation import rows
from pets.interpretation.confusion import confusion_matrix, most_confused
from pets.interpretation.rows import Floats, Rows
from pets.interpretation.table import read_predictions, write_predictions


class Predicted(NamedTuple):
    """One photo: what it is, what the model says, and the probabilities of both."""

    path: str
    label: str
    prediction: str
    loss: float
    p_label: float
    p_prediction: float

    @property
    def right(self) -> bool:
        """Whether the model says what it is."""
        return self.label == self.prediction


@dataclass(frozen=True)
class Interpretation:
    """Predictions of one or more splits.

    `table` has a row a photo: path, split, label, prediction, loss (nats), margin (highest minus
    second highest probability), entropy (nats). `log_probabilities` is (photos, classes), in the
    order of `classes`. Row numbers are the table's index, which every verb keeps.
    """

    table: pd.DataFrame
    log_probabilities: Floats
    classes: list[str]

    @classmethod
    def load(cls, file: str | Path, split: str | None = None) -> Interpretation:
        """A `predictions.parquet`, or one split of it. Raises RunError for any other file, or a
        split that it does not have."""
        found = cls(*read_predictions(Path(file)))
        has = found.table["split"].unique().tolist()
        if split is not None and split not in has:
            raise RunError(f"{file}: has no split {split}; expected one of {', '.join(has)}")
        return found if split is None else found.of(split)

    def save(self, file: str | Path, **about: Any) -> None:
        """Write a `predictions.parquet`; `about` are plain values that it says of itself."""
        write_predictions(Path(file), self.table, self.log_probabilities, self.classes, about)

    @classmethod
    def of_arrays(
        cls,
        paths: Sequence[str],
        splits: Sequence[str],
        labels: Sequence[str],
        log_probabilities: Floats,
        classes: list[str],
    ) -> Interpretation:
        """Derive every column from log-probabilities (N, classes) and the true labels (N,)."""
        # As exact as the table on disk: what is most probable is so after loading, too.
        log_probabilities = log_probabilities.astype(np.float32).astype(np.float64)
        probabilities = np.exp(log_probabilities)
        index = {name: i for i, name in enumerate(classes)}
        targets = np.array([index[label] for label in labels], dtype=np.int64)
        table = pd.DataFrame(
            {
                "path": list(paths),
                "split": list(splits),
                "label": list(labels),
                "prediction": [classes[i] for i in probabilities.argmax(1)],
                "loss": -log_probabilities[np.arange(len(targets)), targets],
                "margin": rows.margins(probabilities),
                "entropy": rows.entropies(probabilities),
            }
        )
        return cls(table, log_probabilities, classes)

    def of(self, split: str) -> Interpretation:
        """The photos of one split alone."""
        mask = (self.table["split"] == split).to_numpy()
        return Interpretation(
            self.table[mask].reset_index(drop=True), self.log_probabilities[mask], self.classes
        )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Predicted:
        """One row by its number. Raises IndexError."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}: expected 0 to {len(self) - 1}")
        index, sure = self.labels[row], self.probabilities[row]
        return Predicted(
            path=str(self.table.at[row, "path"]),
            label=self.classes[index],
            prediction=self.classes[self.predictions[row]],
            loss=-float(self.log_probabilities[row, index]),
            p_label=float(sure[index]),
            p_prediction=float(sure.max()),
        )

    @cached_property
    def probabilities(self) -> Floats:
        """(photos, classes)."""
        return np.exp(self.log_probabilities)

    @cached_property
    def labels(self) -> Rows:
        """The class index of every photo's label."""
        return self._places("label")

    @cached_property
    def predictions(self) -> Rows:
        """The class index of every photo's prediction."""
        return self._places("prediction")

    @cached_property
    def correct(self) -> rows.Mask:
        """Whether each photo was predicted right."""
        return self.labels == self.predictions

    @property
    def accuracy(self) -> float:
        """The share of photos predicted right."""
        return float(self.correct.mean())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy: how far chance alone may have moved it."""
        return wilson(int(self.correct.sum()), len(self))

    def top_losses(self, k: int = 9) -> pd.DataFrame:
        """The `k` photos with the highest loss."""
        return self.table.loc[rows.top_losses(self.table["loss"].to_numpy(), k)]

    def random_correct(self, k: int = 4, seed: int = 0) -> pd.DataFrame:
        """At most `k` photos that were predicted right, at random."""
        return self.table.loc[rows.random_correct(self.labels, self.predictions, k, seed)]

    def random_incorrect(self, k: int = 4, seed: int = 0) -> pd.DataFrame:
        """At most `k` photos that were predicted wrong, at random."""
        return self.table.loc[rows.random_incorrect(self.labels, self.predictions, k, seed)]

    def most_correct(self, label: str, k: int = 4) -> pd.DataFrame:
        """Photos of `label` that were predicted right, the surest first."""
        found = rows.most_correct(self.labels, self.probabilities, self._class(label), k)
        return self.table.loc[found]

    def most_incorrect(self, label: str, k: int = 4) -> pd.DataFrame:
        """Photos of `label` that were predicted wrong, the one furthest from its label first."""
        found = rows.most_incorrect(self.labels, self.probabilities, self._class(label), k)
        return self.table.loc[found]

    def most_uncertain(self, k: int = 4) -> pd.DataFrame:
        """The photos whose two most probable classes are closest."""
        return self.table.loc[rows.most_uncertain(self.probabilities, k)]

    def confusion_matrix(self, normalize: bool = False) -> pd.DataFrame:
        """Photos by actual class (row) and predicted class (column); shares of a row with
        `normalize`."""
        matrix = confusion_matrix(self.labels, self.predictions, len(self.classes), normalize)
        counts = matrix if normalize else matrix.astype(int)
        return pd.DataFrame(counts, index=self.classes, columns=self.classes)

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """(actual, predicted, photos) of every confusion of at least `min_val` photos."""
        pairs = most_confused(self.confusion_matrix().to_numpy(), min_val)
        return [(self.classes[a], self.classes[p], n) for a, p, n in pairs]

    def classification_report(self) -> pd.DataFrame:
        """Per class: photos, recall (the class's accuracy), precision, f1, mean loss.

        A value that is undefined, for a class without photos or never predicted, is NaN.
        """
        matrix = self.confusion_matrix().to_numpy()
        photos, predicted, right = matrix.sum(1), matrix.sum(0), matrix.diagonal()
        with np.errstate(invalid="ignore", divide="ignore"):
            found: dict[str, Any] = {
                "photos": photos,
                "recall": right / photos,
                "precision": right / predicted,
                "f1": 2 * right / (photos + predicted),
            }
        losses = self.table.groupby("label")["loss"].mean()
        found["loss"] = losses.reindex(self.classes).to_numpy()
        return pd.DataFrame(found, index=self.classes)

    def _places(self, column: str) -> Rows:
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index[name] for name in self.table[column]], dtype=np.int64)

    def _class(self, label: str) -> int:
        if label not in self.classes:
            raise KeyError(f"{label}: no such class; expected one of {', '.join(self.classes)}")
        return self.classes.index(label)


def wilson(right: int, photos: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of photos."""
    found = binomtest(right, photos).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
