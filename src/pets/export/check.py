"""Check of an export: run it on the run's photos and compare its logits with the run's."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pets.errors import ExportError
from pets.export.reference import Reference
from pets.system.orphans import END_WITH_MAKER, lifeline

# Absolute and relative tolerance for two logits of the same picture; float noise grows with them.
TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-5
# Libraries resize photos slightly differently, which shifts probabilities a little: by 0.004 with
# timm's transform (EfficientNet-Lite0, mean over 119 photos). Real mistakes shift them more: a crop
# without its margin by 0.06, mean and deviation of other weights by 0.14, swapped channels by 0.17.
SHIFT = 0.03
SCRIPT = "predict.py"

# Run a method of the export's script on photo files in a separate process in which pets cannot be
# imported.
_RUN = (
    END_WITH_MAKER
    + """
import json, runpy, sys
sys.modules["pets"] = None
from PIL import Image
folder, method, names, out = sys.argv[1:]
classifier = runpy.run_path(folder + "/predict.py")["Classifier"](folder)
rows = []
files = open(names, encoding="utf-8").read().split("\\0")
for start in range(0, len(files), 16):
    photos = [Image.open(file) for file in files[start : start + 16]]
    result = getattr(classifier, method)(photos)
    rows += result.tolist() if hasattr(result, "tolist") else result
json.dump(rows, open(out, "w", encoding="utf-8"))
"""
)


@dataclass(frozen=True)
class Agreement:
    """An export's logits compared with the run's.

    Attributes:
        photos: Number of photos compared.
        same_class: Number of photos with the same most probable class.
        logits: Largest absolute difference of two logits.
        shift: Mean total variation distance of the probabilities (0 to 1).
    """

    photos: int
    same_class: int
    logits: float
    shift: float

    @classmethod
    def of(cls, ours: Tensor, theirs: Tensor) -> Agreement:
        """Compare two tables of logits (N, classes)."""
        return cls(
            photos=len(ours),
            same_class=int((ours.argmax(1) == theirs.argmax(1)).sum()),
            logits=float((ours - theirs).abs().max()),
            shift=float((ours.softmax(1) - theirs.softmax(1)).abs().sum(1).mean() / 2),
        )

    @property
    def changed(self) -> str:
        """`3 of 100 photos`: those that get another class."""
        return f"{self.photos - self.same_class:,} of {self.photos:,} photos"


@dataclass(frozen=True)
class Check:
    """Comparison of an export with its run.

    Attributes:
        split: Split whose photos were used.
        largest: Largest absolute logit of the run.
        allowed: Largest accepted difference of logits on the same pictures.
        pictures: Agreement on the same pictures, prepared by the run's transform.
        files: Agreement on photo files, prepared by the export's own script.
    """

    split: str
    largest: float
    allowed: float
    pictures: Agreement
    files: Agreement

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `check.json`."""
        return asdict(self) | {"allowed_shift": SHIFT}


def check(folder: Path, name: str, reference: Reference) -> Check:
    """Run an export on the reference's photos and compare the logits.

    Raises:
        ExportError: The export does not run, or its logits differ too much.
    """
    script = runpy.run_path(str(folder / SCRIPT))["Classifier"](folder)
    pictures = [
        torch.from_numpy(np.asarray(script.logits_of(batch)))
        for batch in reference.pixels(label=name)
    ]
    ours = reference.logits
    largest, same = float(ours.abs().max()), Agreement.of(ours, torch.cat(pictures))
    allowed = max(TOLERANCE, RELATIVE_TOLERANCE * largest)
    # `not <=` rather than `>`, so that NaN is refused, too.
    if not same.logits <= allowed:
        raise ExportError(
            f"to={name}: refused, its logits differ from the run's by up to {same.logits:.2g} on "
            f"the same pictures (allowed {allowed:.2g}), and {same.changed} get another class"
        )
    by_file = Agreement.of(
        ours, torch.tensor(without_pets(folder, name, "logits", reference.files))
    )
    if not by_file.shift <= SHIFT:
        raise ExportError(
            f"to={name}: refused, from photo files its probabilities differ from the run's by "
            f"{by_file.shift:.2g} (mean, allowed {SHIFT:g}), and {by_file.changed} get another "
            "class: photos are not prepared as in training"
        )
    return Check(reference.split, largest, allowed, same, by_file)


def without_pets(folder: Path, name: str, method: str, files: list[Path]) -> list[Any]:
    """Return what a method of the export's script gives for photo files, a row for each.

    It runs in a process without pets. Raises ExportError.
    """
    with TemporaryDirectory() as scratch:
        names, out = Path(scratch, "names"), Path(scratch, "rows.json")
        names.write_text("\0".join(str(file.resolve()) for file in files), "utf-8")
        args = [str(folder.resolve()), method, str(names), str(out)]
        command = [sys.executable, "-I", "-c", _RUN, *args]
        with lifeline() as end:
            ended = subprocess.run(
                command, cwd=scratch, stdin=end, capture_output=True, text=True, check=False
            )
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["no error message"])[-1]
            raise ExportError(
                f"to={name}: refused, its {SCRIPT} does not run without pets ({last})"
            )
        rows: list[Any] = json.loads(out.read_text(encoding="utf-8"))
        return rows
