"""The ONNX model in 8-bit integers, where that is as good and faster on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from pets.export.onnx import INPUT, silent
from pets.export.reference import Reference

MAY_LOSE = 0.005  # of the accuracy: less than half a point
MUST_GAIN = 1.5  # times the float model's speed
CALIBRATION = 128  # training photos, from which the ranges of activations are taken
_ROUNDS = 7  # timings of both in turns; the median counts
_BATCH = 16  # photos
FILE = "model_int8.onnx"


class Quantised(NamedTuple):
    """The result of quantisation; `kept` is whether the file is there."""

    photos: int
    accuracy: float
    accuracy_float: float
    speed: float
    batch: int

    @property
    def kept(self) -> bool:
        """Whether it is as good, and fast enough."""
        return self.accuracy_float - self.accuracy < MAY_LOSE and self.speed >= MUST_GAIN

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `check.json` has them."""
        return self._asdict() | {"kept": self.kept}

    @property
    def summary(self) -> str:
        """The numbers that the decision was made by."""
        return (
            f"{100 * self.accuracy:.1f} % right instead of {100 * self.accuracy_float:.1f} % on "
            f"{self.photos:,} photos, {self.speed:.2f} times the speed in batches of {self.batch}"
        )


def quantise(folder: Path, reference: Reference) -> Quantised:
    """Write `model_int8.onnx` beside `model.onnx`, measure both, and remove it if it is not worth
    keeping.

    Static, weights per channel, calibrated on training photos by their extremes.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    whole, small = folder / "model.onnx", folder / FILE
    with TemporaryDirectory() as scratch, silent():
        prepared = Path(scratch, "prepared.onnx")
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, small, _Calibration(reference), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    model = onnx.load(small)  # which has lost the metadata
    known = {entry.key: entry.value for entry in onnx.load(whole).metadata_props}
    onnx.helper.set_model_props(model, known)
    onnx.save(model, small)
    quantised = _measured(whole, small, reference)
    if not quantised.kept:
        small.unlink()
    return quantised


class _Calibration:
    """What onnxruntime asks for the training pictures."""

    def __init__(self, reference: Reference) -> None:
        self.batches = reference.pixels(reference.training, "calibration")

    def get_next(self) -> dict[str, Any] | None:
        """One batch, None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def _measured(whole: Path, small: Path, reference: Reference) -> Quantised:
    import onnxruntime

    def logits(session: Any, pictures: Any) -> Any:
        return session.run(["logits"], {INPUT: pictures})[0]

    sessions = [
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for file in (whole, small)
    ]
    found: list[list[Any]] = [[], []]
    example: Any = None
    for batch in reference.pixels(label="int8"):
        pictures = batch.numpy()
        example = pictures[:_BATCH] if example is None else example
        for session, classes in zip(sessions, found, strict=True):
            classes.append(logits(session, pictures).argmax(1))
    labels = np.array(reference.predictions.labels)
    accuracy_float, accuracy = (float((np.concatenate(c) == labels).mean()) for c in found)
    took: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        for session, seconds in zip(sessions, took, strict=True):
            started = time.perf_counter()
            logits(session, example)
            seconds.append(time.perf_counter() - started)
    speed = median(took[0]) / median(took[1])
    return Quantised(len(labels), accuracy, accuracy_float, speed, len(example))
