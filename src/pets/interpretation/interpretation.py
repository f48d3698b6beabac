"""The predictions table with fastai's method names; every report reads only this table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import entr
from scipy.stats import binomtest

from pets.data.photos import Photo
from pets.errors import RunError
from pets.io.atomic import regular, replacing
from pets.io.serialize import to_json

Rows = NDArray[np.int64]
Floats = NDArray[np.floating]
_TEXT, _NUMBERS = ["path", "split", "label", "prediction"], ["loss", "margin", "entropy"]
_ABOUT = b"pets"  # the key of the file's metadata


class Predicted(NamedTuple):
    """One photo: label, prediction, loss, and the probabilities of both classes."""

    path: str
    label: str
    prediction: str
    loss: float
    p_label: float
    p_prediction: float


@dataclass(frozen=True)
class Interpretation:
    """Predictions of one or more splits.

    `table` has one row per photo: path, split, label, prediction, loss (nats), margin (highest
    minus second highest probability), entropy (nats). `log_probabilities` is (photos, classes), in
    the order of `classes`. Row numbers are the table's index, which every method keeps. A method
    returns fewer rows than requested if fewer match.
    """

    table: pd.DataFrame
    log_probabilities: Floats
    classes: list[str]

    @classmethod
    def load(cls, file: str | Path, split: str | None = None) -> Interpretation:
        """Read a `predictions.parquet`, or one split of it.

        Raises RunError for any other file, or if it does not contain the split.
        """
        try:
            whole = pq.read_table(regular(Path(file)))
            classes = json.loads((whole.schema.metadata or {})[_ABOUT])["classes"]
            logs = whole["log_probabilities"].combine_chunks().flatten().to_numpy()
            table = whole.select([*_TEXT, *_NUMBERS]).to_pandas()
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
            raise RunError(
                f"{file}: is not a predictions table of pets interpret ({error})"
            ) from error
        logs = logs.reshape(len(table), len(classes)).astype(np.float64)
        found = Interpretation(table, logs, classes)
        has = table["split"].unique().tolist()
        if split is not None and split not in has:
            raise RunError(f"{file}: has no split {split}; expected one of {', '.join(has)}")
        return found if split is None else found.of(split)

    def save(self, file: str | Path, **about: Any) -> None:
        """Write a `predictions.parquet` atomically.

        Columns: those of `table`, then `log_probabilities` and `probabilities`, lists in the order
        of `classes`. That order and `about`, plain values, are in the schema's metadata as JSON
        under `pets`.
        """
        file = Path(file)
        logs = self.log_probabilities.astype(np.float32)
        arrays: dict[str, Any] = {name: pa.array(self.table[name]) for name in _TEXT}
        arrays |= {name: pa.array(self.table[name].astype("float32")) for name in _NUMBERS}
        for name, values in (("log_probabilities", logs), ("probabilities", np.exp(logs))):
            flat = pa.array(values.reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, len(self.classes))
        meta = {_ABOUT: to_json({"classes": self.classes, **about})}
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            pq.write_table(pa.table(arrays).replace_schema_metadata(meta), part)

    @classmethod
    def of_photos(
        cls, photos: Sequence[Photo], log_probabilities: Floats, classes: list[str]
    ) -> Interpretation:
        """Derive every column from labelled photos and their log-probabilities (N, classes)."""
        # Rounded to the precision on disk, so that the prediction is the same after loading.
        logs = log_probabilities.astype(np.float32).astype(np.float64)
        probabilities = np.exp(logs)
        targets = _indices([photo.label for photo in photos], classes)
        two = np.partition(probabilities, -2, axis=1)[:, -2:]
        table = pd.DataFrame(
            {
                "path": [photo.path for photo in photos],
                "split": [photo.split for photo in photos],
                "label": [photo.label for photo in photos],
                "prediction": [classes[i] for i in probabilities.argmax(1)],
                "loss": -logs[np.arange(len(targets)), targets],
                "margin": two[:, 1] - two[:, 0],
                "entropy": entr(probabilities).sum(1),
            }
        )
        return Interpretation(table, logs, classes)

    def of(self, split: str) -> Interpretation:
        """Return only the photos of one split, renumbered."""
        mask = (self.table["split"] == split).to_numpy()
        table = self.table[mask].reset_index(drop=True)
        return Interpretation(table, self.log_probabilities[mask], self.classes)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Predicted:
        """One row by its number. Raises IndexError."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}: expected 0 to {len(self) - 1}")
        index, p = self.labels[row], self.probabilities[row]
        return Predicted(
            path=str(self.table.at[row, "path"]),
            label=self.classes[index],
            prediction=self.classes[self.predictions[row]],
            loss=-float(self.log_probabilities[row, index]),
            p_label=float(p[index]),
            p_prediction=float(p.max()),
        )

    @cached_property
    def probabilities(self) -> Floats:
        """(photos, classes)."""
        return np.exp(self.log_probabilities)

    @cached_property
    def labels(self) -> Rows:
        """The class index of every photo's label."""
        return _indices(self.table["label"], self.classes)

    @cached_property
    def predictions(self) -> Rows:
        """The class index of every photo's prediction."""
        return _indices(self.table["prediction"], self.classes)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each photo was predicted correctly."""
        return self.labels == self.predictions

    @property
    def accuracy(self) -> float:
        """The share of photos predicted correctly."""
        return float(self.correct.mean())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy, for sampling error only."""
        return wilson(int(self.correct.sum()), len(self))

    def top_losses(self, k: int = 9) -> pd.DataFrame:
        """Return the `k` photos with the highest loss; ties are in the table's order."""
        return _highest(self.table, "loss", k)

    def random_correct(self, k: int = 4, seed: int = 0) -> pd.DataFrame:
        """Return up to `k` correctly predicted photos, the same ones for the same seed."""
        return self._at_random(self.correct, k, seed)

    def random_incorrect(self, k: int = 4, seed: int = 0) -> pd.DataFrame:
        """Return up to `k` wrongly predicted photos, the same ones for the same seed."""
        return self._at_random(~self.correct, k, seed)

    def most_correct(self, label: str, k: int = 4) -> pd.DataFrame:
        """Return correctly predicted photos of `label`, the most confident first."""
        return _lowest(self.table[self._of_class(label) & self.correct], "loss", k)

    def most_incorrect(self, label: str, k: int = 4) -> pd.DataFrame:
        """Return wrongly predicted photos of `label`, the least probable label first."""
        return _highest(self.table[self._of_class(label) & ~self.correct], "loss", k)

    def most_uncertain(self, k: int = 4) -> pd.DataFrame:
        """Return the photos with the smallest margin between their two most probable classes."""
        return _lowest(self.table, "margin", k)

    def confusion_matrix(self, normalize: bool = False) -> pd.DataFrame:
        """Return the number of photos by actual class (row) and predicted class (column).

        With `normalize`, shares of the row; a class without photos has a row of zeros.
        """
        counts = np.zeros((len(self.classes), len(self.classes)), dtype=int)
        np.add.at(counts, (self.labels, self.predictions), 1)
        matrix = counts / np.maximum(counts.sum(1, keepdims=True), 1) if normalize else counts
        return pd.DataFrame(matrix, index=self.classes, columns=self.classes)

    def confused(self, actual: str, predicted: str) -> pd.DataFrame:
        """Return photos of one class that were predicted as another one, or as itself.

        The highest loss comes first.
        """
        rows = (self.table["label"] == actual) & (self.table["prediction"] == predicted)
        return self.table[rows].sort_values("loss", ascending=False, kind="stable")

    def most_confused(self, min_val: int = 1) -> list[tuple[str, str, int]]:
        """Return (actual, predicted, photos) for every confusion, the most frequent first.

        Confusions of fewer than `min_val` photos are left out.
        """
        wrong = self.confusion_matrix().to_numpy(copy=True)
        np.fill_diagonal(wrong, 0)
        pairs = [
            (self.classes[a], self.classes[p], int(wrong[a, p]))
            for a, p in zip(*np.nonzero(wrong >= max(min_val, 1)), strict=True)
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    def classification_report(self) -> pd.DataFrame:
        """Return photos, recall (the class's accuracy), precision, f1 and mean loss per class.

        Undefined values, of classes without photos or never predicted, are NaN.
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

    def _at_random(self, mask: NDArray[np.bool_], k: int, seed: int) -> pd.DataFrame:
        rows = np.flatnonzero(mask)
        chosen = np.random.default_rng(seed).choice(rows, min(k, len(rows)), replace=False)
        return self.table.loc[chosen]

    def _of_class(self, label: str) -> NDArray[np.bool_]:
        if label not in self.classes:
            raise KeyError(f"{label}: no such class; expected one of {', '.join(self.classes)}")
        return self.labels == self.classes.index(label)


def wilson(right: int, photos: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of photos."""
    interval = binomtest(right, photos).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _indices(names: Sequence[str] | pd.Series[str], classes: list[str]) -> Rows:
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in names], dtype=np.int64)


def _lowest(table: pd.DataFrame, column: str, k: int) -> pd.DataFrame:
    # Not `nsmallest`: with ties, older pandas gives another order.
    return table.sort_values(column, kind="stable").head(k)


def _highest(table: pd.DataFrame, column: str, k: int) -> pd.DataFrame:
    return table.sort_values(column, ascending=False, kind="stable").head(k)
