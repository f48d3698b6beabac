"""What layers see: stages, first kernels, patches against brute force."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from pets.errors import ConfigError
from pets.interpretation.layers import Patch, TopPatches, first_kernels, stages_of
from pets.interpretation.receptive import ReceptiveField
from pets.models.backbone import Backbone
from pets.models.weights import empty_network
from tests.conftest import train_config
from tests.fast.models.backbones import backbone, handmade, resnet18, spans


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
    modules, result = stages_of(backbone(library, name), (size, size))
    assert result == widths
    assert list(modules) == list(widths)
    for stage, module in modules.items():
        assert module is backbone(library, name).network.get_submodule(stage)
        assert not module._forward_hooks


def test_a_network_without_maps_has_no_patches() -> None:
    size = backbone("timm", "test_vit").network.pretrained_cfg["input_size"][1:]
    with TopPatches(backbone("timm", "test_vit"), size, 4, 3) as top:
        top.update(torch.zeros(1, 3, *size, dtype=torch.uint8), [0], 1)
    assert top.stages == []


def test_first_kernels_are_grey_at_zero_and_use_the_whole_range() -> None:
    conv = nn.Conv2d(3, 3, 2)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 1, 0, 1], conv.weight[0, 2, 1, 1], conv.weight[1, 0, 0, 0] = 4.0, -2.0, -0.01
    result = first_kernels(handmade(conv=conv))
    assert result is not None
    assert result.shape == (3, 3, 2, 2)
    assert (result[0, 1, 0, 1], result[0, 2, 1, 1], result[1, 0, 0, 0]) == (1, 0.25, 0)
    assert (result == 0.5).sum() == 33
    kernels = first_kernels(resnet18())
    assert kernels is not None
    assert kernels.shape == (64, 3, 7, 7)
    assert first_kernels(handmade(conv=nn.Conv2d(3, 3, 2, groups=3))) is None


def colours() -> Backbone:
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
    for index, (strength, y, x) in spots.items():
        photos[index, 0, max(2 * y - 1, 0) : 2 * y + 2, max(2 * x - 1, 0) : 2 * x + 2] = strength
    # A second, weaker spot of the same colour, and one of the other.
    photos[1, 0, 0:3, 0:3] = 80
    photos[2, 2, 9:12, 5:8] = 255
    net = colours()
    with TopPatches(net, (16, 20), 2, 3) as top:
        for part in ([0, 1], [2], [3, 4, 5]):
            net(photos[part].float())
            top.update(photos[part], [10 + index for index in part], 1)
    (stage,) = top.stages
    assert (stage.name, stage.field.rows) == ("conv", spans(-1, 2, 2, 8, 16))
    red, blue = stage.patches[0], stage.patches[1]
    # The spot in the corner has four pixels, not nine.
    assert [(p.activation, p.index) for p in red] == [(9 * 90, 11), (4 * 200, 13), (9 * 60, 14)]
    # Where in its patch: the middle of a unit's own two pixels.
    assert [p.unit for p in red] == [(2 / 3, 2 / 3), (1 / 2, 1 / 2), (2 / 3, 2 / 3)]
    assert torch.equal(red[0].pixels, photos[1, :, 13:16, 17:20])
    assert torch.equal(red[1].pixels, photos[3, :, 0:2, 0:2])
    assert torch.equal(red[2].pixels, photos[4, :, 9:12, 1:4])
    assert (blue[0].activation, blue[0].index, blue[0].unit) == (9 * 255, 12, (2 / 3, 2 / 3))
    assert not net.network.conv._forward_hooks


def brute_force(
    net: Backbone,
    photos: Tensor,
    indices: list[int],
    stage: str,
    channel: int,
    field: ReceptiveField,
) -> list[Patch]:
    """The strongest unit of every photo, the strongest photo first."""
    outputs: list[Tensor] = []
    module = net.network.get_submodule(stage)
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with torch.no_grad():
        net(photos / 255)
    hook.remove()
    result = []
    for photo, map_, index in zip(photos, outputs[0][:, channel], indices, strict=True):
        height, width = map_.shape
        value, y, x = max((float(map_[y, x]), y, x) for y in range(height) for x in range(width))
        top, bottom, left, right = field.box(y, x)
        down, across = (y + 0.5) / height * photo.shape[1], (x + 0.5) / width * photo.shape[2]
        unit = ((down - top) / (bottom - top), (across - left) / (right - left))
        result.append(Patch(value, index, photo[:, top:bottom, left:right], unit))
    return sorted(result, key=lambda patch: -patch.activation)


def same(patches: list[Patch], others: list[Patch]) -> None:
    assert [p.index for p in patches] == [p.index for p in others]
    assert [p.unit for p in patches] == [p.unit for p in others]
    expected = [p.activation for p in others]
    assert [p.activation for p in patches] == pytest.approx(expected, rel=1e-4)
    assert all(torch.equal(p.pixels, o.pixels) for p, o in zip(patches, others, strict=True))


def watched(net: Backbone, photos: Tensor, parts: list[list[int]], views: int = 1) -> TopPatches:
    """The four strongest patches of three channels, photos coming in these parts."""
    random = torch.Generator().manual_seed(2)
    with TopPatches(net, (48, 48), [0, 17, 63], 4) as top, torch.no_grad():
        for part in parts:
            rows = photos[part].repeat_interleave(views, 0) / 255
            # Other views than the first are not looked at, however strong.
            others = [row for row in range(len(rows)) if row % views]
            rows[others] += 5 * torch.rand(len(others), 3, 48, 48, generator=random)
            net(rows)
            top.update(photos[part], [100 - index for index in part], views)
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
    indices = [100 - index for index in range(11)]
    for stage in top.stages:
        assert list(stage.patches) == [0, 17, 63]
        for channel, kept in stage.patches.items():
            expected = brute_force(resnet18(), noise(), indices, stage.name, channel, stage.field)
            same(kept, expected[:4])
            assert len({patch.index for patch in kept}) == 4


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
        # Its stages give channels last; only the end of the backbone turns them round.
        ("swin_t", {"permute": 768}),
        # The gates of squeeze and excite are maps of one place, no stages.
        ("mobilenet_v3_small", {"features.1": 16, "features.3": 24, "features.8": 48}),
    ],
)  # fmt: skip
def test_stages_of_torchvision_are_maps_with_channels_first(
    name: str, stages: dict[str, int]
) -> None:
    chosen = train_config("model=torchvision", f"model.name={name}").model
    _, widths = stages_of(Backbone(empty_network(chosen), chosen).eval(), (96, 96))
    assert widths == {**widths, **stages}
    assert not [end for end in widths if "mlp" in end or "scale" in end or end.endswith("avgpool")]
