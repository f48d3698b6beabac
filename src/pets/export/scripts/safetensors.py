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
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as VF

from pets.export.scripts.shared import main, rgb


class Network(nn.Module):
    """Photos (B, 3, h, w), normalised, to logits (B, classes)."""

    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.pooling = architecture["pooling"]
        self.is_timm = architecture["library"] == "timm"
        self.backbone: Any
        if self.is_timm:
            import timm

            self.backbone = timm.create_model(architecture["name"], pretrained=False)
            self.backbone.reset_classifier(0, "")
        else:
            whole = torchvision.models.get_model(architecture["name"], weights=None)
            parts = ((name, getattr(whole, name)) for name in architecture["parts"])
            self.backbone = nn.Sequential(OrderedDict(parts))
        self.head = nn.Sequential(
            *(getattr(nn, layer["kind"])(**layer["with"]) for layer in architecture["head"])
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone.forward_features(x) if self.is_timm else self.backbone(x)
        if x.ndim == 3:  # tokens: those before the picture's own are left out
            x = x[:, getattr(self.backbone, "num_prefix_tokens", 0) :]
            places: tuple[int, ...] = (1,)
        else:
            last = self.is_timm and x.shape[1] != self.backbone.num_features
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


if __name__ == "__main__":
    sys.exit(main(lambda: Classifier(Path(__file__).parent), sys.argv[1:]))
