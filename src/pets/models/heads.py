"""Classification heads: from pooled features to one logit per class.

`pool` is the pooling that a head was made for, used unless `model.pool` names another. A head
without this attribute gets whole feature maps (B, features, h, w). A head with a method `chain`,
which returns a sequence of torch layers (those needed for inference: no dropout), can be exported
in formats that know only torch's own layers.
"""

from __future__ import annotations

from torch import Tensor, nn


class ConcatPoolHead(nn.Module):
    """fastai's head, for concatenated maxima and averages of a map: two linear layers.

    Maps (B, features) to (B, classes). `dropout` is applied before the last layer, half of it
    before the hidden one. The hidden layer is initialised as in fastai's apply_init (Kaiming,
    normal); the last one is initialised to zero, since fastai's random logits cost 1 to 3 % error
    on small data sets (docs/measurements.md).
    """

    pool = "concat"

    def __init__(self, features: int, classes: int, hidden: int = 512, dropout: float = 0.5):
        super().__init__()
        first, last = nn.Linear(features, hidden), nn.Linear(hidden, classes)
        nn.init.kaiming_normal_(first.weight)
        nn.init.zeros_(first.bias)
        _start_at_zero(last)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(features),
            nn.Dropout(dropout / 2),
            first,
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(hidden),
            nn.Dropout(dropout),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def chain(self) -> nn.Sequential:
        """Return the layers without dropout."""
        return nn.Sequential(*(layer for layer in self.layers if not isinstance(layer, nn.Dropout)))


class LinearHead(nn.Module):
    """Layer norm and one linear layer initialised to zero: (B, features) to (B, classes).

    The norm makes one learning rate fit any backbone's features. With few photos per class it works
    better than the hidden layer of `ConcatPoolHead` (docs/measurements.md).
    """

    pool = "avg"

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.norm: nn.Module = nn.LayerNorm(features)
        self.linear = nn.Linear(features, classes)
        _start_at_zero(self.linear)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x))

    def chain(self) -> nn.Sequential:
        """Return norm and linear layer."""
        return nn.Sequential(self.norm, self.linear)


class BatchNormHead(LinearHead):
    """Like `LinearHead`, with batch norm instead of layer norm.

    At inference, a batch norm is one factor and one shift per feature, which fold into the linear
    layer: the result is the head of timm's and torchvision's networks. Its error is that of
    `LinearHead` (docs/measurements.md, "Exports").
    """

    def __init__(self, features: int, classes: int):
        super().__init__(features, classes)
        self.norm = nn.BatchNorm1d(features)


def _start_at_zero(layer: nn.Linear) -> None:
    """Make all classes equally likely at first, so that training does not have to unlearn noise."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
