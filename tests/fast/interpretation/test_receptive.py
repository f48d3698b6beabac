"""Receptive fields: known ones, and fields verified by changing pixels."""

import copy

import pytest
import torch
from torch import Tensor, nn

from pets.interpretation.layers import stages_of
from pets.interpretation.receptive import ReceptiveField, receptive_fields
from tests.fast.models.backbones import backbone, handmade, resnet18, spans


def field_of(*layers: nn.Module, size: tuple[int, int]) -> ReceptiveField:
    """Receptive field of the last layer."""
    torch.manual_seed(0)
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return receptive_fields(network, {"last": layers[-1]}, size)["last"]


class SqueezeExcite(nn.Module):
    """Weights channels by global context."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()


@torch.no_grad()
def differs(network: nn.Module, unit: tuple[int, int], changes: list[Tensor]) -> list[bool]:
    """For each mask (h, w), whether changing the pixels under it changes the unit's output."""
    random = torch.Generator().manual_seed(1)
    size = changes[0].shape
    photo, other = torch.randn(2, 3, *size, generator=random, dtype=torch.float64)
    batch = torch.stack([photo, *(torch.where(mask, other, photo) for mask in changes)])
    at = copy.deepcopy(network).double()(batch)[:, :, unit[0], unit[1]]
    return [bool((one - at[0]).abs().max() > 1e-12) for one in at[1:]]


def sides(box: tuple[int, int, int, int], size: tuple[int, int]) -> list[Tensor]:
    """Masks: everything outside the box, then its first and last row, first and last column."""
    top, bottom, left, right = box
    inside = torch.zeros(5, *size, dtype=torch.bool)
    inside[0, top:bottom, left:right] = True
    inside[0] = ~inside[0]
    inside[1, top, left:right] = inside[2, bottom - 1, left:right] = True
    inside[3, top:bottom, left] = inside[4, top:bottom, right - 1] = True
    return list(inside)


def test_the_fields_of_resnet18_are_the_known_ones() -> None:
    network = resnet18().network
    names = ("conv1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    # A narrow photo is faster, and the axes are independent.
    fields = receptive_fields(
        resnet18(), {name: network.get_submodule(name) for name in names}, (240, 64)
    )
    known = {"conv1": (7, 2), "relu": (7, 2), "maxpool": (11, 4), "layer1": (43, 4),
             "layer2": (99, 8), "layer3": (211, 16)}  # fmt: skip
    for name, (side, stride) in known.items():
        assert fields[name].pixels[0] == side, name
        low = -(side // 2)
        assert fields[name].rows == spans(low, low + side, stride, 240 // stride, 240), name
    assert fields["layer2"].pixels == (99, 64)
    # More than the photo has.
    assert fields["layer3"].box(7, 2) == (7, 218, 0, 64)
    assert fields["layer4"].rows == spans(-217, 218, 32, 8, 240)
    assert fields["layer4"].rows[1:-1] == ((0, 240),) * 6


@pytest.mark.parametrize(
    ("layers", "low", "high", "stride"),
    [
        ([nn.Conv2d(3, 8, 3, 2, 1)], (-1, -1), (2, 2), (2, 2)),
        ([nn.Conv2d(3, 8, 4, 4)], (0, 0), (4, 4), (4, 4)),
        ([nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)], (0, 0), (5, 5), (1, 1)),
        ([nn.Conv2d(3, 8, 3, 2, 1), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, 1, 1)],
         (-5, -5), (8, 8), (4, 4)),
        ([nn.Conv2d(3, 8, 3, 1, 4, dilation=4)], (-4, -4), (5, 5), (1, 1)),
        ([nn.Conv2d(3, 8, (1, 5), (1, 2), (0, 2))], (0, -2), (1, 3), (1, 2)),
        ([nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, 2)], (0, 0), (3, 3), (2, 2)),
    ],
    ids=["stride", "patches", "two", "pooled", "dilated", "oblong", "lopsided"],
)  # fmt: skip
def test_the_fields_of_a_few_convolutions(
    layers: list[nn.Module], low: tuple[int, int], high: tuple[int, int], stride: tuple[int, int]
) -> None:
    for size in ((32, 48), (30, 37)):
        units = nn.Sequential(*layers)(torch.zeros(1, 3, *size)).shape[2:]
        rows, columns = (
            spans(*edge, units[axis], size[axis])
            for axis, edge in enumerate(zip(low, high, stride, strict=True))
        )
        assert field_of(*layers, size=size) == ReceptiveField(rows, columns)


def test_the_step_is_read_at_the_far_end_where_the_near_one_sees_too_much() -> None:
    layers = nn.ZeroPad2d((0, 19, 0, 19)), nn.Conv2d(3, 8, 20)
    rows = spans(0, 20, 1, 21, 21)
    assert field_of(*layers, size=(21, 21)) == ReceptiveField(rows, rows)


def test_edges_that_cut_nearly_every_field_leave_it_exact() -> None:
    # The second unit ends at the far edge, the last but one begins at the near one.
    field = field_of(nn.Conv2d(3, 8, 3, 2, 1), size=(4, 4))
    assert field.rows == field.columns == ((0, 2), (1, 4))
    layer3 = {"layer3": resnet18().network.layer3}
    assert receptive_fields(resnet18(), layer3, (112, 64))["layer3"].box(0, 0)[:2] == (0, 106)


def test_a_dead_layer_sees_everything() -> None:
    field = field_of(nn.Conv2d(3, 8, 3), nn.Threshold(1e9, 0.0), size=(9, 9))
    assert field.box(3, 3) == (0, 9, 0, 9)


def test_boxes_are_cut_at_the_edges() -> None:
    field = field_of(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), size=(30, 21))
    assert field.pixels == (7, 7)
    assert field.box(0, 0) == (0, 4, 0, 4)
    assert field.box(2, 3) == (5, 12, 9, 16)
    # Eight rows and six columns of units.
    assert field.box(7, 5) == (25, 30, 17, 21)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 8, 3, 2, 1), SqueezeExcite(8)],
        [nn.Conv2d(3, 8, 3, 2, 1), SqueezeExcite(8), nn.Conv2d(8, 8, 3, 2, 1)],
        [nn.Conv2d(3, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1)],
        [nn.Conv2d(3, 8, 65, 4, 32)],
    ],
    ids=["squeezed", "after", "pooled", "wide"],
)
def test_global_context_and_fields_beyond_the_photo_see_everything(layers: list[nn.Module]) -> None:
    field = field_of(*layers, size=(26, 32))
    assert set(field.rows) == {(0, 26)}
    assert set(field.columns) == {(0, 32)}
    assert field.pixels == (26, 32)


def test_squeeze_excitation_sees_everything_in_mobilenet() -> None:
    net, size = backbone("timm", "mobilenetv3_large_100"), (64, 64)
    modules, _ = stages_of(net, size)
    fields = receptive_fields(net, modules, size)
    assert (fields["blocks.0"].pixels, fields["blocks.1"].pixels) == ((7, 7), (19, 19))
    assert [fields[name].box(0, 0) for name in ("blocks.2", "blocks.4", "blocks.6")] == [
        (0, 64, 0, 64)
    ] * 3


@pytest.mark.parametrize(
    ("name", "size", "units"),
    [
        ("relu", (48, 48), [(0, 0), (5, 9)]),
        ("layer1", (64, 96), [(0, 0), (8, 11), (15, 23), (0, 12)]),
        # The last units extend beyond the photo by a different number of pixels on each axis.
        ("layer2", (150, 90), [(0, 0), (9, 6), (18, 11)]),
    ],
)
def test_no_pixel_outside_a_box_matters_and_every_side_of_it_does(
    name: str, size: tuple[int, int], units: list[tuple[int, int]]
) -> None:
    layer = resnet18().network.get_submodule(name)
    # The later layers do not affect the result, but take time.
    network = resnet18().network[: list(resnet18().network).index(layer) + 1]
    field = receptive_fields(network, {name: layer}, size)[name]
    for unit in units:
        outside, *rest = differs(network, unit, sides(field.box(*unit), size))
        assert not outside, unit
        assert rest == [True] * 4, unit


def test_a_field_leaves_the_network_as_it_was() -> None:
    net = handmade(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    receptive_fields(net, {"norm": net.network.norm}, (16, 16))
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.network.norm._forward_hooks
