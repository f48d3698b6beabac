"""A network of one's own: `model=small_net`, by model/small_net.yaml, imports this module."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn


class SmallNet(nn.Module):
    """Three convolutions, each of which halves height and width."""

    def __init__(
        self, num_classes: int = 0, in_chans: int = 3, global_pool: str = "avg", width: int = 16
    ) -> None:
        super().__init__()
        self.num_features = 4 * width
        self.stem = _convolution(in_chans, width)
        self.middle = _convolution(width, 2 * width)
        self.last = _convolution(2 * width, 4 * width)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map photos (B, 3, h, w) to features (B, num_features, h / 8, w / 8)."""
        return self.last(self.middle(self.stem(x)))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Remove the classifier. This network has none: pets adds the head."""

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return the layer groups from input to output, each as a regex on parameter names."""
        return {"stem": "stem", "rest": "middle|last"}


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


# The size of the photos (data.size=auto), and how they are normalised.
default_cfgs = generate_default_cfgs(
    {"small_net": {"input_size": (3, 64, 64), "mean": (0.5,) * 3, "std": (0.25,) * 3}}
)


@register_model
def small_net(pretrained: bool = False, **kwargs: Any) -> SmallNet:
    """Build the network: `model.name` is the name of this function."""
    return build_model_with_cfg(SmallNet, "small_net", pretrained, **kwargs)
