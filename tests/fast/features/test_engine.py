"""Engines of the frozen backbone: they match eager or are refused; the automatic choice."""

import copy
import logging
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from timm.layers.std_conv import StdConv2d
from torch import Tensor, nn

from pets.errors import ConfigError
from pets.features import engine
from pets.features.engine import Engine, choose, make_engine
from pets.features.folding import fold
from pets.models.backbone import Backbone
from pets.system.installation import install
from tests.conftest import need
from tests.fast.models.backbones import backbone, handmade

NETS = {
    "resnet18": ("torchvision", 64),
    "tf_efficientnet_lite0": ("timm", 64),
    "resnet18d": ("timm", 64),
    "repvgg_a0": ("timm", 64),
}
NORMLESS = {"convnext_atto": ("timm", 64), "vit_tiny_patch16_224": ("timm", 224)}


def trained(name: str) -> Backbone:
    """A network whose batch norms do something: fresh ones are the identity."""
    library, _ = (NETS | NORMLESS)[name]
    result = copy.deepcopy(backbone(library, name))
    torch.manual_seed(1)
    for norm in result.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.normal_(0, 0.2)
    return result


def photos(count: int, name: str = "resnet18") -> Tensor:
    side = (NETS | NORMLESS)[name][1]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(2))


def made(name: str, net: Backbone, example: Tensor, seen: int = 1000) -> Engine:
    return make_engine(name, net, example, seen, channels_last=True)


def assert_eagers_rows(result: Engine, net: Backbone, name: str) -> None:
    for count in (5, 2):
        with torch.no_grad():
            expected = copy.deepcopy(net).eval()(photos(count, name))
        maps = result(photos(count, name))
        assert maps.shape == expected.shape
        assert maps.dtype == torch.float32
        assert (maps - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", NETS)
def test_all_batch_norms_are_folded_and_the_outputs_are_unchanged(name: str) -> None:
    net = trained(name)
    folded = copy.deepcopy(net)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert fold(folded, photos(1)) == norms > 0
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert_eagers_rows(made("folded", net, photos(4)), net, name)


@pytest.mark.parametrize("name", NORMLESS)
def test_nothing_to_fold(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        made("folded", trained(name), photos(2, name))
    assert str(error.value) == (
        "precompute.engine=folded: this network has no batch norm to fold; "
        "expected auto, or eager, which always works"
    )


@pytest.mark.parametrize("name", NETS | NORMLESS)
def test_openvino_gives_eagers_rows(name: str) -> None:
    need(find_spec("openvino") is not None, "openvino is not installed")
    net = trained(name)
    assert_eagers_rows(made("openvino", net, photos(4, name)), net, name)


class Shared(nn.Module):
    """A convolution that two batch norms follow, and one that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.two, self.twice = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(x)
        x = self.norms[0](x) + self.norms[1](x)
        return self.twice(self.norms[2](self.twice(x)))


def test_what_cannot_be_folded_stays() -> None:
    shared = handmade(shared=Shared())
    assert fold(shared, photos(1)) == 0
    computed = handmade(kernel=StdConv2d(3, 4, 3), norm=nn.BatchNorm2d(4))
    assert fold(computed, photos(1)) == 0
    before_relu = handmade(conv=nn.Conv2d(3, 4, 3), relu=nn.ReLU(), norm=nn.BatchNorm2d(4))
    assert fold(before_relu, photos(1)) == 0


@pytest.mark.parametrize("name", ["eager", "folded", "openvino", "auto"])
def test_the_backbone_is_unchanged_and_a_head_learns_from_the_maps(name: str) -> None:
    if name == "openvino":
        need(find_spec("openvino") is not None, "openvino is not installed")
    net = trained("resnet18").train()
    net.network.layer1.eval()
    net.network.conv1.requires_grad_(False)

    def state() -> tuple[list[bool], list[bool], list[tuple[int, ...]]]:
        parameters = list(net.parameters())
        return (
            [m.training for m in net.modules()],
            [p.requires_grad for p in parameters],
            [p.stride() for p in parameters],
        )

    tensors, before = copy.deepcopy(net.state_dict()), state()
    maps = made(name, net, photos(4))(photos(4))
    assert not maps.requires_grad
    head = nn.Conv2d(512, 2, 1)
    head(maps).sum().backward()
    assert head.weight.grad is not None
    assert state() == before
    assert list(net.state_dict()) == list(tensors)
    assert all(torch.equal(net.state_dict()[key], tensors[key]) for key in tensors)


def test_eager_is_bit_exact() -> None:
    net = trained("tf_efficientnet_lite0")
    expected = copy.deepcopy(net).to(memory_format=torch.channels_last)
    for count in (4, 1):
        x = photos(count)
        with torch.no_grad():
            theirs = expected(x.contiguous(memory_format=torch.channels_last))
            assert torch.equal(make_engine("eager", net, x, 9, channels_last=True)(x), theirs)
            assert torch.equal(make_engine("eager", net, x, 9, channels_last=False)(x), net(x))


@pytest.fixture(params=[1.01, float("nan")])
def bent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding that gets the first kernel wrong."""

    def wrong(network: nn.Module, photo: Tensor) -> int:
        count = fold(network, photo)
        next(network.parameters()).data[0] *= request.param
        return count

    monkeypatch.setattr(engine, "fold", wrong)


@pytest.mark.usefixtures("bent")
def test_engines_that_differ_from_eager_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"^precompute.engine=folded: its activations differ"):
        made("folded", trained("resnet18"), photos(4))
    caplog.set_level(logging.INFO)
    assert made("auto", trained("resnet18"), photos(4)).name == "eager"
    assert "no folded: its activations differ from eager's by up to" in caplog.text


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"eager": 1.0}, "eager"),
        ({"eager": 1.0, "folded": 0.9}, "eager"),
        ({"eager": 1.0, "folded": 1.1, "openvino": 2.0}, "eager"),
        ({"eager": 1.2, "folded": 1.0}, "folded"),
        ({"eager": 1.0, "folded": 0.8, "openvino": 0.5, "compile": 0.6}, "openvino"),
    ],
)
def test_the_fastest_that_gains_enough(times: dict[str, float], chosen: str) -> None:
    assert choose(times) == chosen


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda _: None)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What a batch takes, in the place of the clock."""
    seconds: dict[str, float] = {}
    monkeypatch.setattr(engine, "_seconds", lambda result, _: {n: seconds[n] for n in result})
    return seconds


@pytest.mark.usefixtures("no_openvino")
def test_auto_logs_its_choice_and_the_reasons(
    timed: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    net = trained("resnet18")
    timed.update(eager=1.0, folded=0.5)
    assert_eagers_rows(result := made("auto", net, photos(4), seen=80), net, "resnet18")
    assert result.name == "folded"
    timed.update(folded=0.9)
    assert made("auto", net, photos(4), seen=80).name == "eager"
    assert made("auto", net, photos(4), seen=79).name == "eager"
    refused = (
        f"no openvino: its package is not installed ({install('openvino')}); "
        "no compile: the pass is too short to pay for compiling)"
    )
    assert caplog.messages == [
        f"precompute.engine: folded (folded 2.00 times eager's speed; {refused}",
        f"precompute.engine: eager (folded 1.11 times eager's speed; {refused}",
        "precompute.engine: eager (79 photos are too few to try others)",
    ]


@pytest.mark.usefixtures("no_openvino")
def test_auto_compiles_only_for_a_long_pass(
    timed: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine._BUILDERS, "compile", engine.uncompiled)
    timed.update(eager=4.0, folded=2.0, compile=1.0)  # for two photos, half a batch
    assert made("auto", trained("resnet18"), photos(4), seen=599).name == "folded"
    assert made("auto", trained("resnet18"), photos(4), seen=600).name == "compile"


def test_engines_are_timed_in_turns_and_a_busy_moment_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, order = [0.0], []

    def taking(name: str, *seconds: float) -> Engine:
        left = list(seconds)

        def forward(x: Tensor) -> Tensor:
            clock[0] += left.pop(0)
            order.append(name)
            return x

        return Engine(name, forward)

    monkeypatch.setattr(engine.time, "perf_counter", lambda: clock[0])
    engines = {"eager": taking("eager", 2, 2, 3), "folded": taking("folded", 1, 9, 1)}
    assert engine._seconds(engines, photos(1)) == {"eager": 2, "folded": 1}
    assert order == ["eager", "folded"] * 3


@pytest.mark.usefixtures("no_openvino")
def test_a_missing_package_is_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        made("openvino", trained("resnet18"), photos(2))
    assert str(error.value) == (
        f"precompute.engine=openvino: its package is not installed ({install('openvino')}); "
        "expected auto, or eager, which always works"
    )


def test_a_compiler_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiler(*_: object, **__: object) -> None:
        raise RuntimeError("no working C++ compiler\nSet VERBOSE=1")

    monkeypatch.setattr(torch, "compile", compiler)
    with pytest.raises(ConfigError) as error:
        made("compile", trained("resnet18"), photos(2))
    assert str(error.value) == (
        "precompute.engine=compile: it does not work here (RuntimeError: no working C++ "
        "compiler); expected auto, or eager, which always works"
    )


def test_compiled_networks_see_one_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def compiler(network: nn.Module, **_: object) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            seen.add((x.shape, x.is_contiguous(memory_format=torch.channels_last)))
            return network(x)

        return forward

    monkeypatch.setattr(torch, "compile", compiler)
    net = trained("resnet18")
    result = made("compile", net, photos(3))  # 5 photos are more, 2 are fewer
    assert_eagers_rows(result, net, "resnet18")
    assert seen == {((3, 3, 64, 64), True)}
