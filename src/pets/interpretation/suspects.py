"""Nearest neighbours in feature space, and a table of likely label errors.

The table proposes labels; photos and labels are not changed.

Confident learning (Northcutt, Jiang, Chuang 2021), through cleanlab.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from pets.interpretation.interpretation import Floats, Rows
from pets.io.csv_cells import write_cell

COLUMNS = ("path", "split", "given", "label", "p_given", "p_label")


def unit_length(features: Floats) -> Floats:
    """Normalise rows to unit length, so that dot products are cosines."""
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def nearest(
    queries: Floats, photos: Floats, k: int, itself: Rows | None = None
) -> tuple[Rows, Floats]:
    """Find the most similar photos by cosine similarity, exactly.

    Args:
        queries: Features (Q, C).
        photos: Features (N, C).
        k: Number of neighbours per query.
        itself: (Q,), each query's own row in `photos`, which is excluded; -1 if none.

    Returns:
        Row numbers of the nearest photos (Q, k), and their similarities.
    """
    similarity = unit_length(queries) @ unit_length(photos).T
    known = np.flatnonzero(itself >= 0) if itself is not None else np.empty(0, dtype=int)
    if itself is not None:
        similarity[known, itself[known]] = -np.inf
    k = min(k, similarity.shape[1] - bool(len(known)))
    rows = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(similarity, rows, axis=1)


def held_out_probabilities(features: Floats, labels: Rows, classes: int, seed: int) -> Floats:
    """Return out-of-fold probabilities (N, classes) of training photos.

    They come from five-fold cross-validation.

    A logistic regression is fitted on the features (N, C) of four fifths and predicts the rest. The
    features come from the network that was trained on the photos; `seed` determines the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    features = unit_length(features)
    probabilities = np.full((len(labels), classes), 1 / classes)
    splits = min(5, int(np.bincount(labels).max(initial=0)))
    if splits < 2:
        return probabilities  # too few photos to find errors
    with warnings.catch_warnings():
        # A class with fewer photos than folds is missing from some: its photos are not suspects.
        warnings.filterwarnings("ignore", "The least populated class")
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        parts = StratifiedKFold(splits, shuffle=True, random_state=seed % 2**32)
        folds = list(parts.split(features, labels))
    for fitted, rest in folds:
        if len(np.unique(labels[fitted])) < 2:
            continue
        probabilities[rest] = 0
        # C=100 finds 34 of 40 wrong labels planted among 1,011 pets, C=10 32; the fits take 1.4 s.
        model = LogisticRegression(C=100, max_iter=200)
        model.fit(features[fitted], labels[fitted])
        probabilities[np.ix_(rest, model.classes_)] = model.predict_proba(features[rest])
    return probabilities


def find_suspects(labels: Rows, probabilities: Floats) -> Rows:
    """Return the rows with likely label errors, the most suspect first.

    `probabilities` (N, classes) must come from a model that was not trained on the labels.
    """
    from cleanlab.filter import find_label_issues

    present = np.unique(labels)
    if len(present) < 2:
        return np.empty(0, dtype=np.int64)
    # cleanlab requires photos of every class; ignore the probabilities of classes without photos.
    shares = probabilities[:, present] + 1e-12
    with warnings.catch_warnings():
        # Label errors cannot be found in a class with one photo; cleanlab warns about each.
        warnings.filterwarnings("ignore", "May not flag all label issues")
        found = find_label_issues(
            np.searchsorted(present, labels),
            shares / shares.sum(1, keepdims=True),
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
    rows = np.asarray(found, dtype=np.int64)
    # Skip photos whose label is nearly as probable as the proposal.
    given = probabilities[rows, labels[rows]]
    return rows[given < 0.5 * probabilities[rows].max(1, initial=0)]


def suspects_table(
    table: pd.DataFrame, probabilities: Floats, classes: list[str], suspects: Rows
) -> pd.DataFrame:
    """Build the table of proposed labels for `data.relabel`, with the columns `COLUMNS`."""
    chosen = table.loc[suspects, ["path", "split", "label"]].rename(columns={"label": "given"})
    given = np.array([classes.index(name) for name in chosen["given"]], dtype=np.int64)
    every, odds = np.arange(len(suspects)), probabilities[suspects].copy()
    chosen["p_given"] = odds[every, given]
    odds[every, given] = -1
    chosen["label"] = [classes[i] for i in odds.argmax(1)]
    chosen["p_label"] = odds.max(1, initial=-1)
    return chosen[list(COLUMNS)]


def write_suspects(file: Path, suspects: pd.DataFrame) -> None:
    """Write the table as CSV; users delete rows they disagree with and pass it to data.relabel."""
    suspects.map(write_cell).to_csv(file, index=False, float_format="%.4f")
