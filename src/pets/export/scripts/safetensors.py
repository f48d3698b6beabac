"""Classify photos: python predict.py photo.jpg ...

The model is beside this file: weights in model.safetensors, everything else in config.json. It
needs torch, torchvision, safetensors and pillow, and timm if `library` in config.json is timm.
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

from pets.export.scripts.shared import load_unsure, main, rgb


class Network(nn.Module):
    """Maps normalised photos (B, 3, h, w) to logits (B, classes)."""

    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.pooling = architecture["pooling"]
        self.is_timm = architecture["library"] == "timm"
        self.backbone: Any
        if self.is_timm:
            import timm

            self.backbone = timm.create_model(
                architecture["name"], pretrained=False, **architecture["args"]
            )
            own = {"own": (0,), "token": (0, "token")}
            self.backbone.reset_classifier(*own.get(self.pooling, (0, "")))
        else:
            whole = torchvision.models.get_model(architecture["name"], weights=None)
            parts = ((name, getattr(whole, name)) for name in architecture["parts"])
            self.backbone = nn.Sequential(OrderedDict(parts))
        self.head = nn.Sequential(
            *(getattr(nn, layer["kind"])(**layer["with"]) for layer in architecture["head"])
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pooled(x))

    def pooled(self, x: Tensor) -> Tensor:
        """Map normalised photos (B, 3, h, w) to the head's input (B, features)."""
        x = self.backbone.forward_features(x) if self.is_timm else self.backbone(x)
        if self.pooling in ("own", "token"):
            return self.backbone.forward_head(x, pre_logits=True)
        if x.ndim == 3:  # tokens: skip the prefix tokens, such as the class token
            x = x[:, getattr(self.backbone, "num_prefix_tokens", 0) :]
            dims: tuple[int, ...] = (1,)
        else:
            last = self.is_timm and x.shape[1] != self.backbone.num_features
            dims = (1, 2) if last else (2, 3)
        pooled = x.mean(dims)
        if self.pooling == "concat":
            pooled = torch.cat([x.amax(dims), pooled], dim=1)
        return pooled


class Classifier:
    """The trained network of a folder, ready for inference."""

    def __init__(self, folder: str | Path) -> None:
        config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        self.classes: list[str] = config["classes"]
        self.preprocessing = config["preprocessing"]
        self.temperature: float = config["temperature"]
        self.network = Network(config["architecture"])
        self.network.load_state_dict(load_file(Path(folder, "model.safetensors")))
        self.network.eval()
        self.unsure = load_unsure(folder)

    def picture(self, photo: Image.Image) -> Tensor:
        """Preprocess: upright RGB, resized to cover `covers`, centre-cropped; uint8 (3, h, w)."""
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
        """Return the logits (B, classes) of uint8 pictures (B, 3, h, w)."""
        return self.network(self.normalised(pictures))

    def normalised(self, pictures: Tensor) -> Tensor:
        """Return uint8 pictures (B, 3, h, w) as the network's input."""
        values = VF.to_dtype(pictures, torch.float32, scale=True)
        return VF.normalize(values, self.preprocessing["mean"], self.preprocessing["std"])

    def logits(self, photos: list[Image.Image]) -> Tensor:
        """Return the logits (B, classes) of photos of any size."""
        return self.logits_of(torch.stack([self.picture(photo) for photo in photos]))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities (B, classes), with the temperature fitted on validation photos."""
        return (logits / self.temperature).softmax(dim=1)

    @torch.inference_mode()
    def judge_of(self, pictures: Tensor) -> list[dict[str, Any]]:
        """Return what `Unsure` in unsure.py says of uint8 pictures (B, 3, h, w)."""
        pooled = self.network.pooled(self.normalised(pictures))
        probabilities = self.probabilities(self.network.head(pooled))
        return self.unsure(probabilities.numpy(), self.unsure.distances(pooled.numpy()))

    def judge(self, photos: list[Image.Image]) -> list[dict[str, Any]]:
        """Return the same of photos of any size."""
        return self.judge_of(torch.stack([self.picture(photo) for photo in photos]))


if __name__ == "__main__":
    sys.exit(main(lambda: Classifier(Path(__file__).parent), sys.argv[1:]))
