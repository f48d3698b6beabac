"""Which pixels a unit of a layer sees: exact boxes, found by propagating a gradient back."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ReceptiveField:
    """Boxes of a layer's units in pixels, for photos of one size (height, width).

    Along one axis the unit at `i` sees the pixels from `low + i * stride` up to, not including,
    `high + i * stride`, as far as they exist. A layer with global context sees them all.
    """

    low: tuple[int, int]
    high: tuple[int, int]
    stride: tuple[int, int]
    size: tuple[int, int]

    def box(self, y: int, x: int) -> tuple[int, int, int, int]:
        """top, bottom, left, right of the unit at (y, x)."""
        (top, bottom), (left, right) = (
            (
                max(self.low[axis] + place * self.stride[axis], 0),
                min(self.high[axis] + place * self.stride[axis], self.size[axis]),
            )
            for axis, place in enumerate((y, x))
        )
        return top, bottom, left, right

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of a unit's view where no edge cuts it."""
        return self.high[0] - self.low[0], self.high[1] - self.low[1]


def receptive_fields(
    body: nn.Module, layers: dict[str, nn.Module], size: tuple[int, int]
) -> dict[str, ReceptiveField]:
    """The receptive field of every named layer of `body` for photos of `size`.

    The gradient of a unit, summed over channels, with respect to a picture of noise is zero exactly
    outside its field. Two units at each end tell the rest, all being shifted alike.
    """
    names = {id(module): name for name, module in body.named_modules()}
    # In doubles nothing far away rounds to zero, and on the CPU: not every device has doubles.
    twin = copy.deepcopy(body).to("cpu", torch.float64).eval().requires_grad_(False)
    found: dict[str, Tensor] = {}
    hooks = [
        twin.get_submodule(names[id(module)]).register_forward_hook(
            lambda _module, _inputs, output, name=name: found.__setitem__(name, output)
        )
        for name, module in layers.items()
    ]
    noise = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        pixels = (noise * 4 - 2).requires_grad_()
        twin(pixels)
        fields = {name: _field(found[name], pixels, size) for name in layers}
    for hook in hooks:
        hook.remove()
    return fields


def _field(output: Tensor, pixels: Tensor, size: tuple[int, int]) -> ReceptiveField:
    ends = [side - 1 for side in output.shape[-2:]]
    inner = [max(end - 1, 0) for end in ends]
    first, second = _seen(output, pixels, 0, 0), _seen(output, pixels, *(min(1, e) for e in ends))
    last, before = _seen(output, pixels, *ends), _seen(output, pixels, *inner)
    low, high, stride = [0, 0], list(size), [0, 0]
    for axis, side in enumerate(size):
        # An edge of the photo cuts a field short, so the step is read where none does.
        up, down = second[axis][1] - first[axis][1], last[axis][0] - before[axis][0]
        step = up if second[axis][1] < side else down if before[axis][0] > 0 else 0
        if step:
            stride[axis], high[axis] = step, first[axis][1]
            low[axis] = last[axis][0] - ends[axis] * step
    return ReceptiveField((low[0], low[1]), (high[0], high[1]), (stride[0], stride[1]), size)


def _seen(
    output: Tensor, pixels: Tensor, y: int, x: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First pixel and one past the last, of rows and of columns, that the unit depends on."""
    (gradient,) = torch.autograd.grad(output[0, :, y, x].sum(), pixels, retain_graph=True)
    depends = gradient[0].abs().sum(0) > 0
    rows, columns = depends.any(1).nonzero(), depends.any(0).nonzero()
    return (
        (int(rows[0]), int(rows[-1]) + 1),
        (int(columns[0]), int(columns[-1]) + 1),
    )
