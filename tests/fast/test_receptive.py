"""What units see: known fields, fields tried by changing pixels, patches against brute force."""

import copy
from collections import OrderedDict
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from pets.config import ModelConfig
from pets.errors import ConfigError
from pets.interpret.layers import Patch, TopPatches, first_kernels, stages_of
from pets.interpret.receptive import ReceptiveField, Span, receptive_fields
from pets.models.body import Body
from pets.models.weights import empty_network
from tests.conftest import train_config


@cache
def config() -> ModelConfig:
    return train_config("model=resnet18", "model.weights=none").model


@cache
def body(library: str, name: str) -> Body:
    torch.manual_seed(0)
    of_it = config().model_copy(update={"library": library, "name": name, "groups": None})
    return Body(empty_network(of_it), of_it).eval()


def resnet18() -> Body:
    return body("torchvision", "resnet18")


def handmade(**layers: nn.Module) -> Body:
    """A body of these layers."""
    network = nn.Sequential(OrderedDict(layers, fc=nn.Identity()))
    return Body(network, config().model_copy(update={"groups": None})).eval()


def field_of(*layers: nn.Module, size: tuple[int, int]) -> ReceptiveField:
    """That of the last layer."""
    torch.manual_seed(0)
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return receptive_fields(network, {"last": layers[-1]}, size)["last"]


class SqueezeExcite(nn.Module):
    """Weighs channels by what the whole photo says."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()


@torch.no_grad()
def differs(network: nn.Module, unit: tuple[int, int], changes: list[Tensor]) -> list[bool]:
    """Whether the unit's output is another one when the pixels of a mask (h, w) are."""
    random = torch.Generator().manual_seed(1)
    size = changes[0].shape
    photo, other = torch.randn(2, 3, *size, generator=random, dtype=torch.float64)
    batch = torch.stack([photo, *(torch.where(mask, other, photo) for mask in changes)])
    at = copy.deepcopy(network).double()(batch)[:, :, unit[0], unit[1]]
    return [bool((one - at[0]).abs().max() > 1e-12) for one in at[1:]]


def sides(box: tuple[int, int, int, int], size: tuple[int, int]) -> list[Tensor]:
    """Masks: all outside the box, then its first and last row, first and last column."""
    top, bottom, left, right = box
    inside = torch.zeros(5, *size, dtype=torch.bool)
    inside[0, top:bottom, left:right] = True
    inside[0] = ~inside[0]
    inside[1, top, left:right] = inside[2, bottom - 1, left:right] = True
    inside[3, top:bottom, left] = inside[4, top:bottom, right - 1] = True
    return list(inside)


def spans(low: int, high: int, stride: int, units: int, side: int) -> tuple[Span, ...]:
    """`units` shifted alike, as far as the photo's `side` goes."""
    return tuple((max(low + i * stride, 0), min(high + i * stride, side)) for i in range(units))


def test_the_fields_of_resnet18_are_the_known_ones() -> None:
    network = resnet18().network
    names = ("conv1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    # A narrow photo is quicker, and one axis says nothing of the other.
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
    net, size = body("timm", "mobilenetv3_large_100"), (64, 64)
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
        # The last units look beyond the photo by another number of pixels on each axis.
        ("layer2", (150, 90), [(0, 0), (9, 6), (18, 11)]),
    ],
)
def test_no_pixel_outside_a_box_matters_and_every_side_of_it_does(
    name: str, size: tuple[int, int], units: list[tuple[int, int]]
) -> None:
    layer = resnet18().network.get_submodule(name)
    # The layers behind it have no say, but take their time.
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


@pytest.mark.parametrize(
    ("library", "name", "size", "widths"),
    [
        ("torchvision", "resnet18", 64,
         {"relu": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}),
        ("timm", "convnext_tiny", 64,
         {"stages.0": 96, "stages.1": 192, "stages.2": 384, "stages.3": 768}),
        ("timm", "mobilenetv3_large_100", 64,
         {"blocks.0": 16, "blocks.1": 24, "blocks.2": 40, "blocks.4": 112, "blocks.6": 960}),
        # Channels last, and tokens: no maps.
        ("timm", "swin_tiny_patch4_window7_224", 224, {}),
        ("timm", "vit_small_patch16_224", 224, {}),
    ],
)  # fmt: skip
def test_stages_end_where_the_resolution_does(
    library: str, name: str, size: int, widths: dict[str, int]
) -> None:
    modules, found = stages_of(body(library, name), (size, size))
    assert found == widths
    assert list(modules) == list(widths)
    for stage, module in modules.items():
        assert module is body(library, name).network.get_submodule(stage)
        assert not module._forward_hooks


def test_a_network_without_maps_has_no_patches() -> None:
    size = body("timm", "test_vit").network.pretrained_cfg["input_size"][1:]
    with TopPatches(body("timm", "test_vit"), size, 4, 3) as top:
        top.update(torch.zeros(1, 3, *size, dtype=torch.uint8), [0], 1)
    assert top.stages == []


def test_first_kernels_are_grey_at_zero_and_use_the_whole_range() -> None:
    conv = nn.Conv2d(3, 3, 2)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 1, 0, 1], conv.weight[0, 2, 1, 1], conv.weight[1, 0, 0, 0] = 4.0, -2.0, -0.01
    found = first_kernels(handmade(conv=conv))
    assert found is not None
    assert found.shape == (3, 3, 2, 2)
    assert (found[0, 1, 0, 1], found[0, 2, 1, 1], found[1, 0, 0, 0]) == (1, 0.25, 0)
    assert (found == 0.5).sum() == 33
    kernels = first_kernels(resnet18())
    assert kernels is not None
    assert kernels.shape == (64, 3, 7, 7)
    assert first_kernels(handmade(conv=nn.Conv2d(3, 3, 2, groups=3))) is None


def colours() -> Body:
    """Two channels: how red and how blue nine pixels are."""
    conv = nn.Conv2d(3, 2, 3, 2, 1)
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        conv.weight[0, 0] = conv.weight[1, 2] = 1
    return handmade(conv=conv)


def test_planted_spots_are_found_where_they_are() -> None:
    photos = torch.zeros(6, 3, 16, 20, dtype=torch.uint8)
    spots = {0: (40, 2, 3), 1: (90, 7, 9), 3: (200, 0, 0), 4: (60, 5, 1), 5: (10, 1, 1)}
    for place, (strength, y, x) in spots.items():
        photos[place, 0, max(2 * y - 1, 0) : 2 * y + 2, max(2 * x - 1, 0) : 2 * x + 2] = strength
    # A second, weaker spot of the same colour, and one of the other.
    photos[1, 0, 0:3, 0:3] = 80
    photos[2, 2, 9:12, 5:8] = 255
    net = colours()
    with TopPatches(net, (16, 20), 2, 3) as top:
        for part in ([0, 1], [2], [3, 4, 5]):
            net(photos[part].float())
            top.update(photos[part], [10 + place for place in part], 1)
    (stage,) = top.stages
    assert (stage.name, stage.field.rows) == ("conv", spans(-1, 2, 2, 8, 16))
    red, blue = stage.patches[0], stage.patches[1]
    # The spot in the corner has four pixels, not nine.
    assert [(p.activation, p.place) for p in red] == [(9 * 90, 11), (4 * 200, 13), (9 * 60, 14)]
    # Where in its patch: the middle of a unit's own two pixels.
    assert [p.unit for p in red] == [(2 / 3, 2 / 3), (1 / 2, 1 / 2), (2 / 3, 2 / 3)]
    assert torch.equal(red[0].pixels, photos[1, :, 13:16, 17:20])
    assert torch.equal(red[1].pixels, photos[3, :, 0:2, 0:2])
    assert torch.equal(red[2].pixels, photos[4, :, 9:12, 1:4])
    assert (blue[0].activation, blue[0].place, blue[0].unit) == (9 * 255, 12, (2 / 3, 2 / 3))
    assert not net.network.conv._forward_hooks


def brute_force(
    net: Body, photos: Tensor, places: list[int], stage: str, channel: int, field: ReceptiveField
) -> list[Patch]:
    """The strongest unit of every photo, the strongest photo first."""
    outputs: list[Tensor] = []
    module = net.network.get_submodule(stage)
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with torch.no_grad():
        net(photos / 255)
    hook.remove()
    found = []
    for photo, map_, place in zip(photos, outputs[0][:, channel], places, strict=True):
        height, width = map_.shape
        value, y, x = max((float(map_[y, x]), y, x) for y in range(height) for x in range(width))
        top, bottom, left, right = field.box(y, x)
        down, across = (y + 0.5) / height * photo.shape[1], (x + 0.5) / width * photo.shape[2]
        unit = ((down - top) / (bottom - top), (across - left) / (right - left))
        found.append(Patch(value, place, photo[:, top:bottom, left:right], unit))
    return sorted(found, key=lambda patch: -patch.activation)


def same(patches: list[Patch], others: list[Patch]) -> None:
    assert [p.place for p in patches] == [p.place for p in others]
    assert [p.unit for p in patches] == [p.unit for p in others]
    expected = [p.activation for p in others]
    assert [p.activation for p in patches] == pytest.approx(expected, rel=1e-4)
    assert all(torch.equal(p.pixels, o.pixels) for p, o in zip(patches, others, strict=True))


def watched(net: Body, photos: Tensor, parts: list[list[int]], views: int = 1) -> TopPatches:
    """The four strongest patches of three channels, photos coming in these parts."""
    random = torch.Generator().manual_seed(2)
    with TopPatches(net, (48, 48), [0, 17, 63], 4) as top, torch.no_grad():
        for part in parts:
            rows = photos[part].repeat_interleave(views, 0) / 255
            # Other views than the first are not looked at, however strong.
            others = [row for row in range(len(rows)) if row % views]
            rows[others] += 5 * torch.rand(len(others), 3, 48, 48, generator=random)
            net(rows)
            top.update(photos[part], [100 - place for place in part], views)
    return top


@cache
def noise() -> Tensor:
    """Eleven photos of noise, each of another contrast, so that no two are alike to a channel."""
    random = torch.Generator().manual_seed(3)
    contrast = torch.linspace(0.3, 1, 11).reshape(-1, 1, 1, 1)
    return (255 * contrast * torch.rand(11, 3, 48, 48, generator=random)).to(torch.uint8)


def test_patches_of_several_batches_are_those_of_all_photos_at_once() -> None:
    top = watched(resnet18(), noise(), [[3, 1, 7], [0], [10, 2, 4, 5, 6, 8], [9]], views=2)
    assert [stage.name for stage in top.stages] == ["relu", "layer1", "layer2", "layer3", "layer4"]
    places = [100 - place for place in range(11)]
    for stage in top.stages:
        assert list(stage.patches) == [0, 17, 63]
        for channel, kept in stage.patches.items():
            expected = brute_force(resnet18(), noise(), places, stage.name, channel, stage.field)
            same(kept, expected[:4])
            assert len({patch.place for patch in kept}) == 4


def test_halves_merged_are_the_whole() -> None:
    torch.manual_seed(0)
    net = handmade(one=nn.Conv2d(3, 64, 5, 2), two=nn.Conv2d(64, 64, 3, 2, 1))
    whole = watched(net, noise(), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]])
    half = watched(net, noise(), [[0, 2], [4, 6, 8, 10]])
    half.merge(watched(net, noise(), [[1, 3, 5], [7], [9]]).stages)
    assert [stage.name for stage in half.stages] == ["one", "two"]
    for one, other in zip(half.stages, whole.stages, strict=True):
        for channel, patches in one.patches.items():
            same(patches, other.patches[channel])


def test_channels_are_spread_evenly_or_those_that_are_listed() -> None:
    def chosen(channels: int | list[int]) -> list[list[int]]:
        top = TopPatches(colours(), (16, 20), channels, 1)
        return [list(stage.patches) for stage in top.stages]

    assert chosen(1) == [[0]]
    assert chosen(9) == [[0, 1]]
    assert chosen([1, 0]) == [[1, 0]]
    with pytest.raises(
        ConfigError, match="no stage has a channel 5; the widest is conv, with 0 to"
    ):
        chosen([1, 5])
    wide = handmade(conv=nn.Conv2d(3, 10, 3, 2))
    (stage,) = TopPatches(wide, (16, 20), 4, 1).stages
    assert list(stage.patches) == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        # Its stages give channels last; only the end of the body turns them round.
        ("swin_t", {"permute": 768}),
        # The gates of squeeze and excite are maps of one place, no stages.
        ("mobilenet_v3_small", {"features.1": 16, "features.3": 24, "features.8": 48}),
    ],
)  # fmt: skip
def test_stages_of_torchvision_are_maps_with_channels_first(
    name: str, stages: dict[str, int]
) -> None:
    chosen = train_config("model=torchvision", f"model.name={name}").model
    _, widths = stages_of(Body(empty_network(chosen), chosen).eval(), (96, 96))
    assert widths == {**widths, **stages}
    assert not [end for end in widths if "mlp" in end or "scale" in end or end.endswith("avgpool")]
