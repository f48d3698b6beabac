"""The server's network: pixels to probabilities, and Grad-CAM for the most probable class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pets.data.transforms import normalize
from pets.interpretation.gradcam import grad_cam
from pets.models.classifier import Classifier, as_vectors, size_of
from pets.unsure.rule import Unsure


@dataclass(frozen=True)
class Photo:
    """A photo for the network: pixels (3, h, w), uint8, and whether Grad-CAM is requested."""

    pixels: Tensor
    gradcam: bool


@dataclass(frozen=True)
class Prediction:
    """The prediction of a photo.

    Probabilities are in the order of the classes; Grad-CAM is (h', w') in 0..1, or None; then comes
    what the rule says, if there is one.
    """

    probabilities: list[float]
    cam: Tensor | None
    judged: dict[str, Any] | None = None


class Predictor:
    """A classifier on a device, as `pets predict` uses it."""

    def __init__(
        self,
        model: Classifier,
        temperature: float,
        device: torch.device,
        rule: Unsure | None = None,
    ) -> None:
        self.model, self._rule = model.eval().to(device), rule
        self._device, self._temperature = device, temperature
        self._normalize = normalize(model.preprocess)
        self._cam = grad_cam(model)

    def predict(self, photos: list[Photo]) -> list[Prediction]:
        """Predict all photos in one forward pass; Grad-CAM reruns only pooling and head."""
        pixels = torch.stack([photo.pixels for photo in photos]).to(self._device)
        with torch.no_grad():
            features, size = self.model.features(self._normalize(pixels)), size_of(pixels)
            pooled = self.model.backbone.pool(features, size)
            # Some devices have no float64.
            logits = self.model.head(pooled).cpu().double()
        probabilities = (logits / self._temperature).softmax(1)
        requested = [index for index, photo in enumerate(photos) if photo.gradcam]
        cams: dict[int, Tensor] = {}
        if requested and self._cam is not None:
            best = probabilities[requested].argmax(1).to(self._device)
            found = self._cam(features[requested].float(), best, size).cpu()
            cams = dict(zip(requested, found, strict=True))
        judged: dict[int, dict[str, Any]] = {}
        if self._rule is not None:
            far = self._rule.distances(as_vectors(pooled).float().cpu().numpy())
            judged = dict(enumerate(self._rule(probabilities.numpy(), far)))
        return [
            Prediction(row, cams.get(i), judged.get(i))
            for i, row in enumerate(probabilities.tolist())
        ]
