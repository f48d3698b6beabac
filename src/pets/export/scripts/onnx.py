"""Classify photos: python predict.py photo.jpg ...

The model is beside this file: model.onnx, with its classes and preprocessing in its metadata. It
needs onnxruntime, numpy and pillow.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from pets.export.scripts.shared import load_unsure, main, rgb


class Classifier:
    """The trained network of a folder, ready for inference."""

    def __init__(self, folder: str | Path, file: str = "model.onnx") -> None:
        model = str(Path(folder, file))
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        about = self.session.get_modelmeta().custom_metadata_map
        self.classes: list[str] = json.loads(about["classes"])
        self.preprocessing = json.loads(about["preprocessing"])
        self.temperature = float(about["temperature"])
        # Its numbers are those of the float model.
        self.unsure: Any = load_unsure(folder) if file == "model.onnx" else None

    def picture(self, photo: Image.Image) -> np.ndarray:
        """Preprocess: upright RGB, resized to cover `covers`, centre-cropped; uint8 (3, h, w)."""
        wanted, photo = self.preprocessing, rgb(photo)
        (least_height, least_width), (height, width) = wanted["covers"], wanted["size"]
        scale = max(least_height / photo.height, least_width / photo.width)
        new = (
            max(round(photo.width * scale), least_width),
            max(round(photo.height * scale), least_height),
        )
        photo = photo.resize(new, Image.Resampling[wanted["interpolation"].upper()])
        left, top = round((photo.width - width) / 2), round((photo.height - height) / 2)
        cut = np.asarray(photo)[top : top + height, left : left + width]
        return np.ascontiguousarray(cut.transpose(2, 0, 1))

    def logits_of(self, pictures: Any) -> np.ndarray:
        """Return the logits (B, classes) of uint8 pictures (B, 3, h, w)."""
        return self.session.run(["logits"], {"pictures": np.asarray(pictures)})[0]

    def logits(self, photos: list[Image.Image]) -> np.ndarray:
        """Return the logits (B, classes) of photos of any size."""
        return self.logits_of(np.stack([self.picture(photo) for photo in photos]))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities (B, classes), equal to the model's second output."""
        scaled = np.exp((logits - logits.max(1, keepdims=True)) / self.temperature)
        return scaled / scaled.sum(1, keepdims=True)

    def judge_of(self, pictures: Any) -> list[dict[str, Any]]:
        """Return what `Unsure` in unsure.py says of uint8 pictures (B, 3, h, w)."""
        inputs = {"pictures": np.asarray(pictures)}
        probabilities, features = self.session.run(["probabilities", "features"], inputs)
        return self.unsure(probabilities, self.unsure.distances(features))

    def judge(self, photos: list[Image.Image]) -> list[dict[str, Any]]:
        """Return the same of photos of any size."""
        return self.judge_of(np.stack([self.picture(photo) for photo in photos]))


if __name__ == "__main__":
    sys.exit(main(lambda: Classifier(Path(__file__).parent), sys.argv[1:]))
