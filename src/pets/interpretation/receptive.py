"""Receptive fields: the exact boxes of pixels that units depend on, from backpropagation."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Span = tuple[int, int]  # the first pixel and one past the last


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive fields of a layer's units, for photos of one size.

    They are the vertical span of every row of units, and the horizontal span of every column. With
    global context, every unit sees the whole photo.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def box(self, y: int, x: int) -> tuple[int, int, int, int]:
        """Return top, bottom, left, right of the field of the unit at (y, x)."""
        return *self.rows[y], *self.columns[x]

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the largest field."""
        height, width = (max(end - start for start, end in s) for s in (self.rows, self.columns))
        return height, width


def receptive_fields(
    backbone: nn.Module, layers: dict[str, nn.Module], size: tuple[int, int]
) -> dict[str, ReceptiveField]:
    """Return the receptive field of every named layer of `backbone` for photos of `size`.

    The gradient of a unit, summed over channels, with respect to a noise image is exactly zero
    outside its field. Two units at each end determine the others, which are shifted by a constant
    step.
    """
    names = {id(module): name for name, module in backbone.named_modules()}
    # In float64, so that small gradients do not underflow; on the CPU, since some devices lack it.
    twin = copy.deepcopy(backbone).to("cpu", torch.float64).eval().requires_grad_(False)
    outputs: dict[str, Tensor] = {}
    for name, module in layers.items():
        twin.get_submodule(names[id(module)]).register_forward_hook(
            lambda _module, _inputs, output, name=name: outputs.__setitem__(name, output)
        )
    noise = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        pixels = (noise * 4 - 2).requires_grad_()
        twin(pixels)
        return {name: _field(outputs[name], pixels, size) for name in layers}


def _field(output: Tensor, pixels: Tensor, size: tuple[int, int]) -> ReceptiveField:
    last = [side - 1 for side in output.shape[-2:]]
    probed = [[0, 0], [min(1, n) for n in last], [max(n - 1, 0) for n in last], last]
    spans = [_span_of(output, pixels, *unit) for unit in probed]
    rows, columns = (
        _spans([span[axis] for span in spans], last[axis] + 1, size[axis]) for axis in (0, 1)
    )
    return ReceptiveField(rows, columns)


def _spans(probed: list[Span], units: int, side: int) -> tuple[Span, ...]:
    """Compute the spans of all units along an axis from those of the first two and the last two.

    Ends are extrapolated from the first unit and starts from the last, where they are least clipped
    by the photo's edges; a step hidden by an edge is replaced by the photo's side.
    """
    (_, end), (_, next_end), (before, _), (start, _) = probed
    up = next_end - end if next_end < side else side
    down = start - before if before > 0 else side
    return tuple(
        (max(start - (units - 1 - i) * down, 0), min(end + i * up, side)) for i in range(units)
    )


def _span_of(output: Tensor, pixels: Tensor, y: int, x: int) -> tuple[Span, Span]:
    """Return the rows and columns of pixels that the unit depends on."""
    (gradient,) = torch.autograd.grad(output[0, :, y, x].sum(), pixels, retain_graph=True)
    depends = gradient[0].abs().sum(0) > 0
    if not depends.any():  # a dead unit has no gradient: assume the whole photo
        return (0, pixels.shape[-2]), (0, pixels.shape[-1])
    rows, columns = depends.any(1).nonzero(), depends.any(0).nonzero()
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
