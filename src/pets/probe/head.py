"""A linear head fitted to features: multinomial logistic regression on standardised features."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
# Inverse regularisation; on standardised features the best is nearly always within.
CS = (1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 5


def choose_c(features: Floats, labels: Labels, seed: int) -> tuple[float, float]:
    """Choose the regularisation by stratified cross-validation on training features.

    Returns:
        The value of `CS` with the lowest error, of equal ones the smallest, and that error.
    """
    folds = min(FOLDS, int(np.bincount(labels).max()))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
    search = GridSearchCV(
        _head(1.0), {"logisticregression__C": list(CS)}, cv=parts, scoring="accuracy", refit=False
    )
    with warnings.catch_warnings():
        # A class with fewer photos than folds is missing from some: wrong there for every value.
        warnings.filterwarnings("ignore", "The least populated class")
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(features, labels)
    return float(search.best_params_["logisticregression__C"]), 1 - float(search.best_score_)


def fit_head(features: Floats, labels: Labels, c: float) -> Pipeline:
    """Fit the head with this regularisation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits do not matter
        return _head(c).fit(features, labels)


def _head(c: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-3, max_iter=300))
