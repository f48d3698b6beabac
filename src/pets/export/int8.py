"""INT8 quantisation of the ONNX model, kept if it is as accurate and faster on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from pets.export.onnx import INPUT, suppress_logging
from pets.export.reference import Reference

MAX_ACCURACY_LOSS = 0.005  # half a percentage point
MIN_SPEEDUP = 1.5  # relative to the float model
CALIBRATION = 128  # training photos that determine the ranges of the activations
_ROUNDS = 7  # interleaved timings of both models; the median counts
_BATCH = 16  # photos
FILE = "model_int8.onnx"


class Quantised(NamedTuple):
    """The result of quantisation; `kept` says whether the file was kept."""

    photos: int
    accuracy: float
    accuracy_float: float
    speed: float
    batch: int

    @property
    def kept(self) -> bool:
        """Whether it is accurate and fast enough."""
        loss = self.accuracy_float - self.accuracy
        return loss < MAX_ACCURACY_LOSS and self.speed >= MIN_SPEEDUP

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `check.json`."""
        return self._asdict() | {"kept": self.kept}

    @property
    def summary(self) -> str:
        """Accuracies and speed-up, on which the decision is based."""
        return (
            f"{100 * self.accuracy:.1f} % right instead of {100 * self.accuracy_float:.1f} % on "
            f"{self.photos:,} photos, {self.speed:.2f} times the speed in batches of {self.batch}"
        )


def quantise(folder: Path, reference: Reference) -> Quantised:
    """Write `model_int8.onnx` beside `model.onnx`, measure both, and keep it only if it pays off.

    Static quantisation with per-channel weights and min-max calibration on training photos.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    whole, small = folder / "model.onnx", folder / FILE
    with TemporaryDirectory() as scratch, suppress_logging():
        prepared = Path(scratch, "prepared.onnx")
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, small, _Calibration(reference), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    model = onnx.load(small)  # quantisation drops the metadata
    known = {entry.key: entry.value for entry in onnx.load(whole).metadata_props}
    onnx.helper.set_model_props(model, known)
    onnx.save(model, small)
    quantised = _measure(whole, small, reference)
    if not quantised.kept:
        small.unlink()
    return quantised


class _Calibration:
    """onnxruntime's CalibrationDataReader for the training photos."""

    def __init__(self, reference: Reference) -> None:
        self.batches = reference.pixels(reference.training, "calibration")

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def _measure(whole: Path, small: Path, reference: Reference) -> Quantised:
    import onnxruntime

    def logits(session: Any, pictures: Any) -> Any:
        return session.run(["logits"], {INPUT: pictures})[0]

    sessions = [
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for file in (whole, small)
    ]
    predicted: list[list[Any]] = [[], []]
    example: Any = None
    for batch in reference.pixels(label="int8"):
        pictures = batch.numpy()
        example = pictures[:_BATCH] if example is None else example
        for session, classes in zip(sessions, predicted, strict=True):
            classes.append(logits(session, pictures).argmax(1))
    labels = np.array(reference.predictions.labels)
    accuracy_float, accuracy = (float((np.concatenate(c) == labels).mean()) for c in predicted)
    timings: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        for session, seconds in zip(sessions, timings, strict=True):
            started = time.perf_counter()
            logits(session, example)
            seconds.append(time.perf_counter() - started)
    speed = median(timings[0]) / median(timings[1])
    return Quantised(len(labels), accuracy, accuracy_float, speed, len(example))
