"""Out-of-fold predictions: those of all folds in one table.

Each photo is predicted by a run that has not seen it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pets.errors import RunError
from pets.interpretation.interpretation import Interpretation, wilson
from pets.run_dir import OUT_OF_FOLD

FOLD = "data.fold"


@dataclass(frozen=True)
class OutOfFold:
    """The pooled predictions of a setting's folds; with several seeds, a photo has a row for each.

    Attributes:
        found: The predictions.
        folds: The number of folds that are finished.
        expected: The number of folds of the split.
    """

    found: Interpretation
    folds: int
    expected: int

    @property
    def photos(self) -> int:
        """The number of different photos."""
        return int(self.found.table["path"].nunique())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy for the number of different photos."""
        return wilson(round(self.found.accuracy * self.photos), self.photos)

    @property
    def per_class(self) -> pd.DataFrame:
        """Predictions, recall, precision and f1 of each class, the lowest recall first."""
        return self.found.classification_report().sort_values("recall", kind="stable")


def pool_folds(folder: Path, runs: pd.DataFrame, expected: int) -> OutOfFold | None:
    """Pool the predictions of a setting's finished runs; None if that is not possible.

    It is not if they are not all there, or if a photo is in several folds of a seed.
    """
    parts = []
    with contextlib.suppress(RunError):
        parts = [Interpretation.load(folder / run / OUT_OF_FOLD) for run in runs.run]
    if not parts or any(part.classes != parts[0].classes for part in parts):
        return None
    tables = [part.table.assign(seed=seed) for part, seed in zip(parts, runs.seed, strict=True)]
    table = pd.concat(tables, ignore_index=True)
    if table.duplicated(["path", "seed"]).any():
        return None
    logs = np.concatenate([part.log_probabilities for part in parts])
    found = Interpretation(table, logs, parts[0].classes)
    return OutOfFold(found, runs.data.nunique(), expected)
