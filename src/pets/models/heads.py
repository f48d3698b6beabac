"""Classification heads: from the backbone's feature map to one logit per class."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn


def pool(feature_map: Tensor) -> Tensor:
    """Concatenate maximum and average over a map (B, features, h, w): (B, 2 * features).

    A head with a method `classify` needs only these, so that they can be cached instead of maps,
    which are fifty times as large.
    """
    return torch.cat([feature_map.amax((2, 3)), feature_map.mean((2, 3))], dim=1)


class Chain(NamedTuple):
    """A head in a form that other libraries support: a sequence of torch layers on the pooled map;
    `pooling` is `average`, or `maximum_average` for the output of `pool`.

    A head with a method `chain` can be exported in this form; its layers are those needed for
    inference (no dropout).
    """

    pooling: Literal["average", "maximum_average"]
    layers: nn.Sequential


class ConcatPoolHead(nn.Module):
    """fastai's head: concatenated maximum and average pooling, then two linear layers.

    Maps (B, features, h, w) to (B, classes). `dropout` is applied before the last layer, half of it
    before the hidden one. The hidden layer is initialised as in fastai's apply_init (Kaiming,
    normal); the last one is initialised to zero, since fastai's random logits cost 1 to 3 % error
    on small data sets (README, "Defaults").
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
        """Map the output of `pool` to logits."""
        return self.layers(pooled)

    def chain(self) -> Chain:
        """Return the layers without dropout."""
        used = (layer for layer in self.layers if not isinstance(layer, nn.Dropout))
        return Chain("maximum_average", nn.Sequential(*used))


class LinearHead(nn.Module):
    """Average pooling, layer norm, one linear layer initialised to zero: (B, features, h, w) to
    (B, classes).

    The norm makes one learning rate fit any backbone's features. With few photos per class it works
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
        """Map the output of `pool` to logits; the maxima are not used."""
        return self.linear(self.norm(pooled[:, pooled.shape[1] // 2 :]))

    def chain(self) -> Chain:
        """Return norm and linear layer."""
        return Chain("average", nn.Sequential(self.norm, self.linear))


class BatchNormHead(LinearHead):
    """Like `LinearHead`, with batch norm instead of layer norm.

    At inference, a batch norm is one factor and one shift per feature, which fold into the linear
    layer: the result is the head of timm's and torchvision's networks. Its error is that of
    `LinearHead` (README, "Export").
    """

    def __init__(self, features: int, classes: int):
        super().__init__(features, classes)
        self.norm = nn.BatchNorm1d(features)


def _start_at_zero(layer: nn.Linear) -> None:
    """Make all classes equally likely at first, so that training does not have to unlearn noise."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
