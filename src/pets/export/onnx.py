"""ONNX: one file for onnxruntime, with batches of any size and its preprocessing in metadata."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from pets.errors import ExportError
from pets.export.metadata import Metadata
from pets.io.serialize import to_json
from pets.models.classifier import Classifier, as_vectors

INPUT, OUTPUTS = "pictures", ("logits", "probabilities")


def check(model: Classifier) -> None:
    """Accept any network: what torch cannot export fails in `write`."""


def write(folder: Path, metadata: Metadata) -> None:
    """Write `model.onnx`, from uint8 pictures (batch, 3, h, w) to logits and probabilities.

    The outputs are (batch, classes); pooled features (batch, C) are added if there is a rule for
    what it is not sure of. Normalisation and temperature are part of the graph; classes and
    preprocessing are in its metadata.

    Raises:
        ExportError: torch cannot export the network.
    """
    import onnx

    file = folder / "model.onnx"
    trained = metadata.trained
    graph = _Graph(trained.model, metadata.temperature, metadata.promise is not None)
    _export(graph.eval(), trained.model, file)
    model = onnx.load(file)
    values = {
        "classes": trained.model.classes,
        "preprocessing": metadata.preprocessing,
        "temperature": metadata.temperature,
        "about": metadata.as_dict(),
    }
    onnx.helper.set_model_props(
        model, {key: to_json(value, ensure_ascii=False) for key, value in values.items()}
    )
    onnx.checker.check_model(model)
    onnx.save(model, file)


class _Graph(nn.Module):
    """The network with normalisation before it and softmax after it."""

    def __init__(self, model: Classifier, temperature: float, features: bool) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
        # The memory format is up to the runtime.
        self.model.config = model.config.model_copy(update={"channels_last": False})
        self.temperature, self.features = temperature, features
        self.outputs = (*OUTPUTS, "features") if features else OUTPUTS
        self.mean, self.std = (
            nn.Buffer(torch.tensor(values).view(1, 3, 1, 1))
            for values in (model.preprocess.mean, model.preprocess.std)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        pooled = self.model.pooled((pictures.float() / 255 - self.mean) / self.std)
        logits = self.model.head(pooled)
        outputs = logits, (logits / self.temperature).softmax(dim=1)
        return (*outputs, as_vectors(pooled)) if self.features else outputs


def _export(graph: _Graph, model: Classifier, file: Path) -> None:
    # Two pictures: a batch of one would be exported as a constant.
    example = torch.zeros(2, 3, *model.size, dtype=torch.uint8)
    try:
        with suppress_logging(), torch.no_grad():
            program = torch.onnx.export(
                graph, (example,), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
                dynamo=True, verbose=False, input_names=[INPUT], output_names=list(graph.outputs),
            )  # fmt: skip
            assert program is not None
            program.save(file, external_data=False)
    except Exception as error:  # the exporter raises many exception types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ExportError(
            f"to=onnx: torch cannot export {model.config.name} ({reason}); "
            "to=safetensors takes any network"
        ) from error


@contextmanager
def suppress_logging() -> Iterator[None]:
    """Suppress library logging during export; the output is checked afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
