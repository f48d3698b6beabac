"""The head, fitted anew on cached features after every few labels, and the orders that follow."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from pets.interpretation.interpretation import wilson
from pets.interpretation.suspects import find_suspects, held_out_probabilities
from pets.labelling.pool import Pool
from pets.labelling.queue import (
    Floats,
    Rows,
    alternate,
    closeness,
    density,
    in_groups,
    least_sure,
    margins,
    spread,
)

C = 100  # inverse regularisation, as where `pets interpret` finds suspects
SPREAD = 64  # photos of an order that are chosen to be far from each other; the rest by worth alone
# The orders, as the page names them.
HELPFUL, SUSPECTS, UNSURE, TYPICAL, NEAR, UNLABELLED = (
    "helpful", "suspects", "unsure", "typical", "near", "unlabelled"
)  # fmt: skip
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """What is known of the photos of a pool at one time.

    Attributes:
        labels: The class of each photo (N,); -1 for none.
        decided: Which photos a person has decided about (N,).
        excluded: Which of them are left out (N,).
        count: The number of decisions.
    """

    labels: Rows
    decided: Flags
    excluded: Flags
    count: int

    @property
    def usable(self) -> Flags:
        return (self.labels >= 0) & ~self.excluded


@dataclass(frozen=True)
class Fit:
    """A head, as what follows from it.

    Attributes:
        count: How many decisions it knows.
        wrong: Of how many validation photos it gives another class than their label.
        photos: The number of validation photos.
        probabilities: (N, classes).
        orders: Rows by the name of the order; all that may be shown, decided or not.
    """

    count: int
    wrong: int
    photos: int
    probabilities: Floats
    orders: dict[str, Rows]

    @property
    def error(self) -> float:
        return self.wrong / self.photos

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the error."""
        return wilson(self.wrong, self.photos)


class Learner:
    """Fits heads to the photos of a pool."""

    def __init__(self, pool: Pool, seed: int) -> None:
        self.pool, self.seed = pool, seed
        self._typical = density(pool.features)
        self._held_out, self._shown = pool.held_out(), pool.shown()
        # Of what had a label from the beginning; the decisions since are few.
        labelled = np.flatnonzero((pool.labels() >= 0) & ~self._held_out)
        self._near = closeness(pool.features, np.arange(len(pool.items)), labelled)

    def fit(self, known: Known, suspects: Rows) -> Fit:
        """Fit the head to all labels but those of validation photos, and order the photos.

        Args:
            known: The labels.
            suspects: Photos that probably have a wrong label, the most suspect first.
        """
        train = np.flatnonzero(known.usable & ~self._held_out)
        features, labels = self.pool.features, known.labels
        probabilities = np.zeros((len(labels), len(self.pool.classes)), np.float32)
        present = np.unique(labels[train])
        if len(present) > 1:
            head = LogisticRegression(C=C, tol=1e-3, max_iter=300)
            with warnings.catch_warnings():
                # The last digits do not matter; a class may have a single photo.
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
                head.fit(features[train], labels[train])
            probabilities[:, head.classes_] = head.predict_proba(features)
        else:
            probabilities[:, present] = 1
        valid = np.flatnonzero(known.usable & self._held_out)
        wrong = int((probabilities[valid].argmax(1) != labels[valid]).sum())
        orders = self.orders(known, probabilities, suspects)
        return Fit(known.count, wrong, len(valid), probabilities, orders)

    def suspects(self, known: Known, fit: Fit) -> tuple[Rows, Floats]:
        """Return the photos with probably wrong labels, as `pets interpret` finds them, and the
        probabilities (N, classes) that say so: of training
        photos with a label by heads that were not fitted to them, of all others by the head."""
        usable = np.flatnonzero(known.usable)
        train = usable[~self._held_out[usable]]
        odds = fit.probabilities.astype(np.float64)
        odds[train] = held_out_probabilities(
            self.pool.features[train], known.labels[train], len(self.pool.classes), self.seed
        )
        return usable[find_suspects(known.labels[usable], odds[usable])], odds.astype(np.float32)

    def orders(self, known: Known, probabilities: Floats, suspects: Rows) -> dict[str, Rows]:
        """Return the orders of photos that may be shown."""
        features, shown = self.pool.features, self._shown
        suspects = suspects[shown[suspects]]
        bare = np.flatnonzero(shown & (known.labels < 0) & ~known.excluded)
        decided = np.flatnonzero(known.decided & known.usable & ~self._held_out)
        near = np.maximum(self._near[bare], closeness(features, bare, decided))
        typical = spread(features, self._typical[bare], bare, near, SPREAD)
        helpful = helpful_order(features, probabilities, self._typical, bare, near)
        groups = in_groups(self.pool.groups, known.labels)
        return {
            HELPFUL: alternate(helpful, suspects),
            SUSPECTS: suspects,
            UNSURE: least_sure(probabilities, bare),
            TYPICAL: typical,
            NEAR: groups[shown[groups]],
            UNLABELLED: bare,
        }


def helpful_order(
    features: Floats, probabilities: Floats, typical: Floats, rows: Rows, near: Floats
) -> Rows:
    """Order photos without a label by what their labels are worth to the head: those of which it is
    least sure, that many others are like, far from each other and from what has a label."""
    worth = typical[rows] * (1 - margins(probabilities[rows]))
    return spread(features, worth, rows, near, SPREAD)
