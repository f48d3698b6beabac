"""An export's script applies the run's rule: the same sets, groups and distances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pets.config import ExportConfig
from pets.config.validation import typed
from pets.data.transforms import normalize
from pets.errors import ConfigError
from pets.export import onnx, safetensors
from pets.export.card import render_card
from pets.export.check import Agreement, Check
from pets.export.promise import PromiseCheck, write_promise
from pets.export.scripts import standalone_script
from pets.models.classifier import Classifier, as_vectors
from pets.unsure.calibration import Calibration, HeldOut, Promise
from pets.unsure.novelty import fit_typical
from tests.conftest import composed
from tests.fast.export.test_export import PICTURES, classifier, metadata, script


def outputs(model: Classifier, pictures: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities at the temperature of `metadata`, and pooled features."""
    with torch.inference_mode():
        pooled = model.pooled(normalize(model.preprocess)(pictures))
        probabilities = (model.head(pooled).double() / 2).softmax(1)
    return probabilities.numpy(), as_vectors(pooled).numpy()


def promised(model: Classifier) -> Promise:
    """With thresholds between the probabilities of the pictures, so that sets differ."""
    probabilities, features = outputs(model, PICTURES)
    random = np.random.default_rng(0)
    typical = fit_typical(
        np.repeat(features, 10, 0) + random.normal(size=(30, features.shape[1])) * features.std(),
        np.arange(30) % 3, 3,
    )  # fmt: skip
    rows = np.repeat(probabilities, 20, 0)
    held_out = HeldOut(rows, rows.argsort(1)[:, -2], random.random(60))
    return Calibration(
        model.classes, ["cat", "dog", "dog"], typical, held_out, held_out
    ).promise(0.6, 0.1)  # fmt: skip


# The oldest versions of ONNX cannot convert it; the locked ones are those of an export.
@pytest.mark.parametrize(
    "kind", ["safetensors", pytest.param("onnx", marks=pytest.mark.integration)]
)
def test_the_script_gives_the_sets_of_the_run(kind: str, tmp_path: Path) -> None:
    model = classifier("model=timm", "model.name=test_efficientnet")
    promise = promised(model)
    about = replace(metadata(model), promise=promise)
    {"safetensors": safetensors, "onnx": onnx}[kind].write(tmp_path, about)
    write_promise(tmp_path, promise)
    probabilities, features = outputs(model, PICTURES)
    ours = promise.rule(probabilities, promise.rule.distances(features))
    pictures: Any = PICTURES if kind == "safetensors" else PICTURES.numpy()
    theirs = script(kind, tmp_path).judge_of(pictures)
    assert {len(one["set"]) for one in ours} != {3}  # of all classes
    for a, b in zip(ours, theirs, strict=True):
        assert (a["set"], a["superclass"], a["unsure"]) == (b["set"], b["superclass"], b["unsure"])
        assert b["none_of_these"] == pytest.approx(a["none_of_these"], rel=1e-3, abs=1e-3)


def test_an_export_without_a_rule_has_none(tmp_path: Path) -> None:
    model = classifier("model=timm", "model.name=test_efficientnet")
    safetensors.write(tmp_path, metadata(model))
    assert script("safetensors", tmp_path).unsure is None
    assert "unsure.py" in standalone_script("safetensors")


def test_the_card_has_the_promise_beside_what_was_reached() -> None:
    model = classifier("model=timm", "model.name=test_efficientnet")
    same = Agreement(30, 30, 1e-6, 1e-7)
    checked = PromiseCheck(0.95, 119, True, 119, 117, 114, (0.905, 0.982), 90, 0.05, 4)
    about = replace(metadata(model), promise=promised(model))
    card = render_card("onnx", about, Check("valid", 9, 1e-4, same, same), None, checked)
    assert "| | promised | from photo files, 119 test photos |" in card
    assert (
        "| sets with the right class | 95.0 % | 95.8 % (95 % interval 90.5 to 98.2) |\n"
        "| photos of these classes called none of these | at most 5.0 % | 3.4 % |\n"
        "| sets of one class | | 75.6 % |\n"
    ) in card
    assert "| output | features | float32 | batch, " in card
    assert "119 get the run's set of classes from the same pictures, 117 from photo files" in card
    without = render_card("onnx", metadata(model), Check("valid", 9, 1e-4, same, same), None)
    assert "not sure" not in without
    assert "features" not in without


def test_the_hubs_layout_has_no_rule() -> None:
    config = composed("run=r", "to=hub", "unsure=auto", name="export")
    with pytest.raises(ConfigError, match="unsure=auto with to=hub: timm's layout has no place"):
        typed(ExportConfig, config)
