"""Names what is on photos: python predict.py photo.jpg ...

The model is beside this file, in the layout of the Hugging Face hub: config.json and
model.safetensors, which timm loads. It needs timm (1.0.16 or newer) and pillow.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.data
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as VF


class Classifier:
    """The trained network of a folder, ready to name photos."""

    def __init__(self, folder: str | Path) -> None:
        self.network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        own: Any = self.network.pretrained_cfg
        self.classes: list[str] = list(own["label_names"])
        about = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        self.temperature: float = about["pets"]["temperature"]
        data: Any = timm.data
        self.config = data.resolve_model_data_config(self.network)
        self.transform = data.create_transform(**self.config, is_training=False)

    @torch.inference_mode()
    def logits_of(self, pictures: Tensor) -> Tensor:
        """Of uint8 pictures (B, 3, h, w) to (B, classes)."""
        values = VF.to_dtype(pictures, torch.float32, scale=True)
        return self.network(VF.normalize(values, self.config["mean"], self.config["std"]))

    @torch.inference_mode()
    def logits(self, photos: list[Image.Image]) -> Tensor:
        """Of photos of any size, (B, classes), through timm's own transform."""
        return self.network(torch.stack([self.transform(rgb(photo)) for photo in photos]))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, classes), at the temperature that fitted the validation photos."""
        return (logits / self.temperature).softmax(dim=1)


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
