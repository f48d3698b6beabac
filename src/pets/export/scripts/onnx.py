"""Names what is on photos: python predict.py photo.jpg ...

The model is beside this file: model.onnx, which says itself what it knows and how photos become its
pictures. It needs onnxruntime, numpy and pillow.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class Classifier:
    """The trained network of a folder, ready to name photos."""

    def __init__(self, folder: str | Path, file: str = "model.onnx") -> None:
        model = str(Path(folder, file))
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        about = self.session.get_modelmeta().custom_metadata_map
        self.classes: list[str] = json.loads(about["classes"])
        self.preprocessing = json.loads(about["preprocessing"])
        self.temperature = float(about["temperature"])

    def picture(self, photo: Image.Image) -> np.ndarray:
        """Upright and RGB, shrunk to cover `covers`, the middle cut out: uint8 (3, h, w)."""
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
        """Of uint8 pictures (B, 3, h, w) to (B, classes)."""
        return self.session.run(["logits"], {"pictures": np.asarray(pictures)})[0]

    def logits(self, photos: list[Image.Image]) -> np.ndarray:
        """Of photos of any size, (B, classes)."""
        return self.logits_of(np.stack([self.picture(photo) for photo in photos]))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(B, classes), as the model's second output has them."""
        scaled = np.exp((logits - logits.max(1, keepdims=True)) / self.temperature)
        return scaled / scaled.sum(1, keepdims=True)


# From here on, every format's predict.py is the same.


def rgb(photo: Image.Image) -> Image.Image:
    """Upright; transparent pixels become white, greys of more than 8 bits are scaled to 8."""
    photo = ImageOps.exif_transpose(photo)
    if photo.mode == "RGB":
        return photo
    if photo.mode.startswith("I") or photo.mode == "F":
        return _in_8_bits(photo).convert("RGB")
    if photo.has_transparency_data:
        above = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return photo.convert("RGB")


def _in_8_bits(grey: Image.Image) -> Image.Image:
    """16-bit greys by their full scale, all others by their own range."""
    values = np.asarray(grey, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if grey.mode.startswith("I;16") or (grey.mode == "I" and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(scaled.round().astype(np.uint8))


def main(names: list[str]) -> int:
    """Say what is on each photo. 1 where one cannot be read, 2 where none is named, else 0."""
    if not names:
        print("usage: python predict.py photo.jpg ...", file=sys.stderr)
        return 2
    classifier, code = Classifier(Path(__file__).parent), 0
    for name in names:
        try:
            with Image.open(name) as opened:
                photo = rgb(opened)
        except Exception as error:  # of damaged files Pillow's readers raise every kind
            reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
            reason = reason.replace(f" {name!r}", "") or type(error).__name__
            print(f"{name}: cannot be read as a photo ({reason})", file=sys.stderr)
            code = 1
            continue
        found = classifier.probabilities(classifier.logits([photo]))[0].tolist()
        best = sorted(zip(found, classifier.classes, strict=True), reverse=True)[:3]
        print(name, *(f"{label} {100 * share:.1f} %" for share, label in best), sep="  ")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
