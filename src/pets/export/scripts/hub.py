"""Classify photos: python predict.py photo.jpg ...

The model is beside this file, in the layout of the Hugging Face hub: config.json and
model.safetensors, which timm loads. It needs timm (1.0.16 or newer) and pillow.
"""

import json
import sys
from pathlib import Path
from typing import Any

import timm
import timm.data
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as VF

from pets.export.scripts.shared import main, rgb


class Classifier:
    """The trained network of a folder, ready for inference."""

    unsure = None  # of other formats

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
        """Return the logits (B, classes) of uint8 pictures (B, 3, h, w)."""
        values = VF.to_dtype(pictures, torch.float32, scale=True)
        return self.network(VF.normalize(values, self.config["mean"], self.config["std"]))

    @torch.inference_mode()
    def logits(self, photos: list[Image.Image]) -> Tensor:
        """Return the logits (B, classes) of photos of any size, using timm's own transform."""
        return self.network(torch.stack([self.transform(rgb(photo)) for photo in photos]))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities (B, classes), with the temperature fitted on validation photos."""
        return (logits / self.temperature).softmax(dim=1)


if __name__ == "__main__":
    sys.exit(main(lambda: Classifier(Path(__file__).parent), sys.argv[1:]))
