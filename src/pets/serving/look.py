"""From the pixels of a photo to probabilities and to where the network looked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pets.data.transforms import normalize
from pets.interpretation.gradcam import GradCam
from pets.models.classifier import Classifier


@dataclass(frozen=True)
class Photo:
    """A photo as the network is given it: `pixels` (3, h, w), uint8; whether to say where it
    looked."""

    pixels: Tensor
    gradcam: bool


@dataclass(frozen=True)
class Found:
    """Probabilities in the order of the classes; Grad-CAM for the most probable one, (h', w') in
    0..1, where it was asked for."""

    probabilities: list[float]
    cam: Tensor | None


class Eye:
    """A network and the way to it: the one of `pets predict`."""

    def __init__(self, model: Classifier, temperature: float, device: torch.device) -> None:
        self.model = model.eval().to(device)
        self._device, self._temperature = device, temperature
        self._normalize = normalize(model.preprocess)
        self._cam = GradCam(model.head)

    def look(self, photos: list[Photo]) -> list[Found]:
        """One pass of the network for all of them; Grad-CAM needs only its head again."""
        pixels = torch.stack([photo.pixels for photo in photos]).to(self._device)
        with torch.no_grad():
            maps = self.model.feature_map(self._normalize(pixels))
            # Some devices have no doubles.
            logits = self.model.head(maps).cpu().double()
        probabilities = (logits / self._temperature).softmax(1)
        asked = [place for place, photo in enumerate(photos) if photo.gradcam]
        cams: dict[int, Tensor] = {}
        if asked:
            best = probabilities[asked].argmax(1).to(self._device)
            cams = dict(zip(asked, self._cam(maps[asked].float(), best).cpu(), strict=True))
        return [Found(row, cams.get(place)) for place, row in enumerate(probabilities.tolist())]

    @property
    def blank(self) -> Photo:
        """Black: for a first pass, which allocates and compiles what all others use."""
        height, width = self.model.size
        return Photo(torch.zeros(3, height, width, dtype=torch.uint8), True)
