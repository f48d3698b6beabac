"""Names what is on photos: python predict.py photo.jpg ...

The model is beside this file: weights in model.safetensors, all else in config.json. It needs
torch, torchvision, safetensors and pillow; and timm, where config.json says so (`library`).
"""

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as VF


class Network(nn.Module):
    """Photos (B, 3, h, w), normalised, to logits (B, classes)."""

    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.pooling = architecture["pooling"]
        self.is_timm = architecture["library"] == "timm"
        self.body: Any
        if self.is_timm:
            import timm

            self.body = timm.create_model(architecture["name"], pretrained=False)
            self.body.reset_classifier(0, "")
        else:
            whole = torchvision.models.get_model(architecture["name"], weights=None)
            parts = ((name, getattr(whole, name)) for name in architecture["parts"])
            self.body = nn.Sequential(OrderedDict(parts))
        self.head = nn.Sequential(
            *(getattr(nn, layer["kind"])(**layer["with"]) for layer in architecture["head"])
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.body.forward_features(x) if self.is_timm else self.body(x)
        if x.ndim == 3:  # tokens: those before the picture's own are left out
            x = x[:, getattr(self.body, "num_prefix_tokens", 0) :]
            places: tuple[int, ...] = (1,)
        else:
            last = self.is_timm and x.shape[1] != self.body.num_features
            places = (1, 2) if last else (2, 3)
        pooled = x.mean(places)
        if self.pooling == "maximum_average":
            pooled = torch.cat([x.amax(places), pooled], dim=1)
        return self.head(pooled)


class Classifier:
    """The trained network of a folder, ready to name photos."""

    def __init__(self, folder: str | Path) -> None:
        config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        self.classes: list[str] = config["classes"]
        self.preprocessing = config["preprocessing"]
        self.temperature: float = config["temperature"]
        self.network = Network(config["architecture"])
        self.network.load_state_dict(load_file(Path(folder, "model.safetensors")))
        self.network.eval()

    def picture(self, photo: Image.Image) -> Tensor:
        """Upright and RGB, shrunk to cover `covers`, the middle cut out: uint8 (3, h, w)."""
        wanted = self.preprocessing
        pixels = torch.from_numpy(np.array(rgb(photo))).permute(2, 0, 1)
        height, width = pixels.shape[1:]
        least_height, least_width = wanted["covers"]
        scale = max(least_height / height, least_width / width)
        new = [max(round(height * scale), least_height), max(round(width * scale), least_width)]
        mode = VF.InterpolationMode(wanted["interpolation"])
        return VF.center_crop(VF.resize(pixels, new, mode, antialias=True), wanted["size"])

    @torch.inference_mode()
    def logits_of(self, pictures: Tensor) -> Tensor:
        """Of uint8 pictures (B, 3, h, w) to (B, classes)."""
        values = VF.to_dtype(pictures, torch.float32, scale=True)
        wanted = self.preprocessing
        return self.network(VF.normalize(values, wanted["mean"], wanted["std"]))

    def logits(self, photos: list[Image.Image]) -> Tensor:
        """Of photos of any size, (B, classes)."""
        return self.logits_of(torch.stack([self.picture(photo) for photo in photos]))

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
