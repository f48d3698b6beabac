"""What an export is not sure of: the rule of the run in plain files, checked on held-out photos."""

from __future__ import annotations

import runpy
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pets.data.transforms import normalize
from pets.errors import ExportError
from pets.export.check import SCRIPT, without_pets
from pets.export.reference import Reference
from pets.interpretation.interpretation import wilson
from pets.io.serialize import to_json
from pets.models.classifier import as_vectors
from pets.unsure.calibration import Promise

# Share of photos that must get the same set and verdict from the same pictures: another program's
# rounding may move one across a threshold.
SAME = 0.99


@dataclass(frozen=True)
class PromiseCheck:
    """An export's sets compared with the run's, and with the promise.

    Attributes:
        promised: The promised coverage.
        photos: Number of photos compared.
        on_test: Whether they are test photos; else validation photos, of which the thresholds are.
        same: How many get the same set and verdict as from the run, from the same pictures.
        same_files: The same from photo files, prepared by the export's own script.
        covered: How many sets, from photo files, contain the label.
        interval: 95 % interval of their share (Wilson).
        single: How many sets have one class.
        false_alarms: The promised share of photos that are called none of these.
        alarms: How many are.
    """

    promised: float
    photos: int
    on_test: bool
    same: int
    same_files: int
    covered: int
    interval: tuple[float, float]
    single: int
    false_alarms: float
    alarms: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `check.json`."""
        return asdict(self)

    @property
    def summary(self) -> str:
        """What the export's sets reach beside what is promised."""
        low, high = self.interval
        return (
            f"sets: the run's for {self.same:,} of {self.photos:,} pictures; promised "
            f"{100 * self.promised:g} %, reached {100 * self.covered / self.photos:.1f} % of "
            f"{'test' if self.on_test else 'validation'} photos, from files (95 % interval "
            f"{100 * low:.1f} to {100 * high:.1f})"
        )


def write_promise(folder: Path, promise: Promise) -> None:
    """Write `unsure.py`, a copy of the rule's code, and its numbers.

    These are `unsure.json` and, for the typical features, `unsure.npz`.
    """
    rule = promise.rule
    code = files("pets.unsure").joinpath("rule.py").read_text("utf-8")
    (folder / "unsure.py").write_text(code, encoding="utf-8")
    numbers = {
        "classes": rule.classes,
        "superclasses": rule.superclasses,
        "least": rule.least,
        "limit": rule.limit,
        "rest": rule.rest,
        "variances": rule.variances,
    }
    text = to_json({**promise.as_dict(), "rule": numbers}, indent=2, ensure_ascii=False)
    (folder / "unsure.json").write_text(text + "\n", encoding="utf-8")
    tensors = {name: getattr(rule, name) for name in ("center", "directions", "means")}
    single: dict[str, Any] = {name: tensor.astype("float32") for name, tensor in tensors.items()}
    np.savez_compressed(folder / "unsure.npz", **single)


@torch.inference_mode()
def check_promise(folder: Path, name: str, reference: Reference, promise: Promise) -> PromiseCheck:
    """Run the export's script on held-out photos and compare its sets with the run's.

    The photos are test photos, or validation photos if there are none.

    Raises:
        ExportError: It does not run, or gives other sets for the same pictures.
    """
    rows, trained = reference.test or reference.rows, reference.trained
    script = runpy.run_path(str(folder / SCRIPT))["Classifier"](folder)
    prepare, temperature = normalize(trained.model.preprocess), trained.temperature or 1.0
    ours, theirs = list[dict[str, Any]](), list[dict[str, Any]]()
    for pictures in reference.pixels(rows, label=f"{name}: sets"):
        pooled = trained.model.pooled(prepare(pictures))
        probabilities = (trained.model.head(pooled).double() / temperature).softmax(1).numpy()
        far = promise.rule.distances(as_vectors(pooled).numpy())
        ours += promise.rule(probabilities, far)
        theirs += script.judge_of(pictures)
    same = _same(ours, theirs)
    if same < SAME * len(rows):
        raise ExportError(
            f"to={name}: refused, {len(rows) - same:,} of {len(rows):,} photos get another set of "
            "classes, or another verdict, than from the run, for the same pictures"
        )
    paths = [reference.root / row.path for row in rows]
    by_file = without_pets(folder, name, "judge", paths)
    covered = sum(row.label in judged["set"] for row, judged in zip(rows, by_file, strict=True))
    return PromiseCheck(
        promised=promise.coverage,
        photos=len(rows),
        on_test=bool(reference.test),
        same=same,
        same_files=_same(ours, by_file),
        covered=covered,
        interval=wilson(covered, len(rows)),
        single=sum(len(judged["set"]) == 1 for judged in by_file),
        false_alarms=promise.false_alarms,
        alarms=sum(judged["none_of_these"] >= 1 for judged in by_file),
    )


def _same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> int:
    return sum(
        set(a["set"]) == set(b["set"]) and (a["none_of_these"] >= 1) == (b["none_of_these"] >= 1)
        for a, b in zip(ours, theirs, strict=True)
    )
