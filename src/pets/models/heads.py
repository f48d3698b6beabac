"""The new top of the network: from the backbone's feature map to one logit a class."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn


def pool(feature_map: Tensor) -> Tensor:
    """Maximum and average over a map (B, features, h, w), side by side: (B, 2 * features).

    A head with a method `classify` starts from these alone, so that they can be kept in the place
    of maps, fifty times as large.
    """
    return torch.cat([feature_map.amax((2, 3)), feature_map.mean((2, 3))], dim=1)


class Chain(NamedTuple):
    """A head as other libraries can have it: torch's own layers, one after another, on the pooled
    map; `pooling` is `average`, or `maximum_average` for what `pool` gives.

    A head with a method `chain` can be exported as such; its layers are those of use, not of
    training (no dropout).
    """

    pooling: Literal["average", "maximum_average"]
    layers: nn.Sequential


class ConcatPoolHead(nn.Module):
    """fastai's head: maximum and average over the map side by side, then two linear layers.

    Takes (B, features, h, w), gives (B, classes). `dropout` stands before the last layer, half of
    it before the hidden one. The hidden layer starts as in fastai's apply_init (Kaiming, normal);
    the last one starts at zero, where fastai's random logits cost small data sets 1 to 3 % error
    (README, "Defaults").
    """

    def __init__(self, features: int, classes: int, hidden: int = 512, dropout: float = 0.5):
        super().__init__()
        first, last = nn.Linear(2 * features, hidden), nn.Linear(hidden, classes)
        nn.init.kaiming_normal_(first.weight)
        nn.init.zeros_(first.bias)
        _start_at_zero(last)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(2 * features),
            nn.Dropout(dropout / 2),
            first,
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(hidden),
            nn.Dropout(dropout),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(pool(x))

    def classify(self, pooled: Tensor) -> Tensor:
        """From what `pool` gives to logits."""
        return self.layers(pooled)

    def chain(self) -> Chain:
        """Without its dropout."""
        used = (layer for layer in self.layers if not isinstance(layer, nn.Dropout))
        return Chain("maximum_average", nn.Sequential(*used))


class LinearHead(nn.Module):
    """Average over the map, layer norm, one linear layer that starts at zero: (B, features, h, w)
    to (B, classes).

    The norm makes one learning rate fit any backbone's features. With few photos a class it does
    better than the hidden layer of `ConcatPoolHead` (README, "Defaults").
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.norm: nn.Module = nn.LayerNorm(features)
        self.linear = nn.Linear(features, classes)
        _start_at_zero(self.linear)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x.mean((2, 3))))

    def classify(self, pooled: Tensor) -> Tensor:
        """From what `pool` gives to logits; the maxima are not used."""
        return self.linear(self.norm(pooled[:, pooled.shape[1] // 2 :]))

    def chain(self) -> Chain:
        """Norm and linear layer."""
        return Chain("average", nn.Sequential(self.norm, self.linear))


class BatchNormHead(LinearHead):
    """As `LinearHead`, with a batch norm in the place of the layer norm.

    In use a batch norm is one factor and one shift a feature, which the linear layer can take
    upon itself: what is left is the top that timm's and torchvision's networks have. Its error is
    that of `LinearHead` (README, "Export").
    """

    def __init__(self, features: int, classes: int):
        super().__init__(features, classes)
        self.norm = nn.BatchNorm1d(features)


def _start_at_zero(layer: nn.Linear) -> None:
    """Every class equally likely at first: the first steps do not have to unlearn noise."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
