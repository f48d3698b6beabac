"""A run's calibration: the numbers from which its rule for any coverage can be made.

These are the typical features of its classes, and its predictions on held-out photos. The run keeps
them as `unsure/<ckpt>.safetensors`: tensors and a little text, no code.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pets.errors import ConfigError
from pets.io.atomic import regular, write_atomically
from pets.unsure.conformal import (
    Floats,
    Reached,
    Rows,
    Thresholds,
    fit_thresholds,
    measure,
    measure_halves,
    photos_needed,
)
from pets.unsure.novelty import Typical, limit_of
from pets.unsure.rule import Unsure

log = logging.getLogger(__name__)

_TYPICAL = ("center", "directions", "variances", "means", "rest")
_HELD_OUT = ("probabilities", "labels", "distances")
_NAMES = (*_TYPICAL, *(f"{split}.{name}" for split in ("valid", "test") for name in _HELD_OUT))


@dataclass(frozen=True)
class HeldOut:
    """Predictions on photos that the network was not trained on.

    Attributes:
        probabilities: (N, classes), after temperature scaling.
        labels: (N,), class indices.
        distances: (N,), from the typical features, not divided by a limit.
    """

    probabilities: Floats
    labels: Rows
    distances: Floats

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Promise:
    """A rule for sets of classes and for "none of these", what it promises, and what it reached.

    Attributes:
        rule: The rule.
        coverage: The promised share of sets that contain the right class.
        thresholds: The least probability at which a class is in a set.
        reached: What the sets reach on photos that the thresholds were not fitted on; None if there
            are too few photos to measure it.
        on_test: Whether that is measured on test photos; else on halves of the validation photos.
        false_alarms: The promised upper limit of the share of photos of the run's classes that are
            called "none of these".
        alarms: How many test photos are called "none of these"; None without test photos.
    """

    rule: Unsure
    coverage: float
    thresholds: Thresholds
    reached: Reached | None
    on_test: bool
    false_alarms: float
    alarms: int | None

    @property
    def key(self) -> tuple[float, ...]:
        """All numbers in which rules of the same weights and photos may differ."""
        return (self.rule.limit, *self.rule.least.tolist())

    @property
    def broken(self) -> str:
        """What the test photos miss by more than two standard deviations; "" if nothing."""
        if not self.on_test or self.reached is None:
            return ""
        missed = [] if self.reached.is_kept else [f"coverage={self.coverage:g}"]
        if self.alarms is not None:
            above = self.alarms / max(self.reached.photos, 1) - self.false_alarms
            if above > 2 * self.reached.deviation(self.false_alarms):
                missed.append(f"false_alarms={self.false_alarms:g}")
        return " and ".join(missed)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for an export's files."""
        reached = None
        if self.reached is not None:
            reached = {**asdict(self.reached), "coverage": self.reached.coverage}
        names = [n for n, own in zip(self.rule.classes, self.thresholds.own, strict=True) if own]
        return {
            "coverage": self.coverage,
            "reached": reached,
            "measured_on": "test photos" if self.on_test else "halves of the validation photos",
            "own_threshold": names,
            "false_alarms": {"promised": self.false_alarms, "test_photos": self.alarms},
        }

    @property
    def summary(self) -> str:
        """What was promised and what was reached, in one line."""
        reached = self.reached
        if reached is None:
            return "sets: too few photos to measure what they reach"
        where = "test photos" if self.on_test else "validation photos, by halves"
        own = int(self.thresholds.own.sum())
        parts = [
            f"sets: promised {100 * self.coverage:g} %, reached {100 * reached.coverage:.1f} % "
            f"of {reached.photos:,} {where}",
            f"{reached.size:.2f} classes on average, one class for "
            f"{100 * reached.single / reached.photos:.0f} %",
            f"{own} of {len(self.thresholds.own)} classes with a threshold of their own"
            if own
            else "one threshold for all classes",
        ]
        if self.alarms is not None:
            parts.append(
                f"none of these: promised at most {100 * self.false_alarms:g} %, "
                f"{100 * self.alarms / reached.photos:.1f} % of the test photos"
            )
        return "; ".join(parts)


def check_photos(count: int, coverage: float, false_alarms: float) -> None:
    """Check that `count` validation photos are enough for a coverage and a share of false alarms.

    Raises:
        ConfigError: There are too few; it names the most that they can promise.
    """
    run = f"the run has {count:,} validation photos, which"
    if count < (needed := photos_needed(coverage)):
        raise ConfigError(
            f"coverage={coverage:g}: {run} can promise at most "
            f"{math.floor(1000 * count / (count + 1)) / 1000:g}; expected a lower one, or a run "
            f"with {needed:,} validation photos or more (data.valid_pct)"
        )
    if count < (needed := photos_needed(1 - false_alarms)):
        raise ConfigError(
            f"false_alarms={false_alarms:g}: {run} cannot promise less than "
            f"{math.ceil(1000 / (count + 1)) / 1000:g}; expected a higher one, or a run with "
            f"{needed:,} validation photos or more (data.valid_pct)"
        )


@dataclass(frozen=True)
class Calibration:
    """The typical features of a network's classes, and its predictions on held-out photos.

    Attributes:
        classes: Names of the classes.
        superclasses: The group of each class; None if it has none.
        typical: The typical features, of training photos.
        valid: Predictions on the validation photos, by which rules are fitted.
        test: Predictions on the test photos, by which they are measured; may be of no photos.
    """

    classes: list[str]
    superclasses: list[str | None]
    typical: Typical
    valid: HeldOut
    test: HeldOut

    def promise(self, coverage: float, false_alarms: float) -> Promise:
        """Fit the rule for a coverage and a share of false alarms, and measure what it reaches.

        Raises:
            ConfigError: There are too few validation photos to promise it.
        """
        valid, test, count = self.valid, self.test, len(self.valid)
        check_photos(count, coverage, false_alarms)
        thresholds = fit_thresholds(valid.probabilities, valid.labels, coverage)
        limit = limit_of(valid.distances, false_alarms)
        reached, alarms = None, None
        if len(test):
            reached = measure(
                test.probabilities, test.labels, thresholds.least, coverage, len(valid)
            )
            alarms = int((test.distances >= limit).sum())
        elif count // 2 >= photos_needed(coverage):
            reached = measure_halves(valid.probabilities, valid.labels, coverage)
        rule = Unsure(
            self.classes, self.superclasses, thresholds.least, limit, **vars(self.typical)
        )
        return Promise(rule, coverage, thresholds, reached, bool(len(test)), false_alarms, alarms)

    def save(self, file: Path, about: dict[str, str]) -> None:
        """Write the numbers, and in `about` what they were computed from. Raises OSError."""
        tensors = {name: np.atleast_1d(getattr(self.typical, name)) for name in _TYPICAL}
        for split in ("valid", "test"):
            held_out = getattr(self, split)
            tensors |= {f"{split}.{name}": getattr(held_out, name) for name in _HELD_OUT}
        content = save({name: np.ascontiguousarray(t) for name, t in tensors.items()}, about)
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, content)

    @classmethod
    def load(
        cls, file: Path, about: dict[str, str], classes: list[str], superclasses: list[str | None]
    ) -> Calibration | None:
        """Read what `save` wrote; None if it has to be fitted again.

        That is if there is no file, it is damaged, or its `about` is another, as after a change of
        the weights or photos.
        """
        if not file.exists():
            return None
        try:
            with safe_open(regular(file), "numpy") as stored:
                if stored.metadata() != about:
                    log.info("%s: is of other weights or photos; it is fitted again", file)
                    return None
                tensors = {name: stored.get_tensor(name) for name in _NAMES}
            typical = Typical(**{n: tensors[n] for n in _TYPICAL[:-1]}, rest=tensors["rest"].item())
            valid, test = (
                HeldOut(*(tensors[f"{split}.{name}"] for name in _HELD_OUT))
                for split in ("valid", "test")
            )
            loaded = cls(classes, superclasses, typical, valid, test)
            loaded._check()
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: damaged (%s); it is fitted again", file, error)
            return None
        return loaded

    def _check(self) -> None:
        """Raise ValueError if shapes or values are impossible, as in a file that was changed."""
        count, typical = len(self.classes), self.typical
        width, inner = len(typical.center), len(typical.variances)
        shapes: list[tuple[str, Floats | Rows, tuple[int, ...]]] = [
            ("center", typical.center, (width,)),
            ("variances", typical.variances, (inner,)),
            ("directions", typical.directions, (inner, width)),
            ("means", typical.means, (count, inner)),
        ]
        for held_out in (self.valid, self.test):
            photos, labels = len(held_out), held_out.labels
            shapes += [
                ("probabilities", held_out.probabilities, (photos, count)),
                ("distances", held_out.distances, (photos,)),
                ("labels", labels, (photos,)),
            ]
            if labels.dtype != np.int64 or not ((labels >= 0) & (labels < count)).all():
                raise ValueError("labels are no classes")
        for name, tensor, shape in shapes:
            if tensor.shape != shape or not np.isfinite(tensor).all():
                raise ValueError(f"{name} has the wrong shape or numbers")
        if not ((typical.variances > 0).all() and 0 < typical.rest < math.inf):
            raise ValueError("variances are not above 0")


def raw_distances(typical: Typical, features: Any) -> Floats:
    """Return the distances (N,) of pooled features (N, C), not divided by a limit."""
    # A rule computes them, so that those of the calibration and of later photos are the same.
    rule = Unsure([], [], least=[], limit=1.0, **vars(typical))
    distances: Floats = rule.distances(features)
    return distances
