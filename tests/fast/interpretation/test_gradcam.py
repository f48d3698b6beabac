"""Grad-CAM between backbone and head: the same as through the whole network, for any head."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import nn

from pets.data.transforms import CentreCrop, Preprocess
from pets.data.views import NAMES, Views
from pets.interpretation.gradcam import GradCam, grad_cam
from pets.models.backbone import Backbone
from pets.models.classifier import Classifier
from pets.models.weights import empty_network
from tests.conftest import train_config
from tests.fast.models.backbones import handmade


class AveragePool(nn.Module):
    """The head of the paper's closed form: a mean over the map, one linear layer."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.mean((2, 3)))


class Net(nn.Module):
    """A head on the maps of a backbone that does nothing."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = handmade(same=nn.Conv2d(3, 3, 1)), head
        self.backbone.pooling = "map"


def cams(head: nn.Module, maps: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    return GradCam(cast(Classifier, Net(head)))(maps, classes, (32, 32))


def test_a_linear_head_has_a_closed_form() -> None:
    torch.manual_seed(0)
    maps, head = torch.rand(4, 6, 3, 5), AveragePool(6, 3)
    classes = torch.tensor([2, 0, 1, 1])
    weighed = torch.einsum("bc,bchw->bhw", head.linear.weight[classes], maps).relu().detach()
    expected = weighed / weighed.amax((1, 2), keepdim=True).clamp_min(1e-12)
    assert torch.allclose(cams(head, maps, classes), expected, atol=1e-5)


def test_what_speaks_against_a_class_is_not_shown() -> None:
    head = AveragePool(2, 2)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, -1.0]]))
    maps = torch.zeros(2, 2, 2, 2)
    maps[:, 0, 0, 0], maps[:, 0, 0, 1], maps[:, 1, 1, 1] = 4, 1, 2
    result = cams(head, maps, torch.tensor([0, 1]))
    assert torch.allclose(result[0], torch.tensor([[1.0, 0.25], [0.0, 0.0]]))
    assert not result[1].any()


@pytest.mark.parametrize("head", ["concat_pool", "linear"])
@pytest.mark.parametrize(
    "name",
    [
        "model=resnet18",
        "model=timm model.name=convnext_atto",
        "model=timm model.name=convnext_atto model.pool=own",
        "model=timm model.name=test_vit model.pool=avg",
        "model=timm model.name=vit_base_patch32_siglip_256",  # an attention pool
        "model=timm model.name=eva02_tiny_patch14_224 model.args.img_size=56",  # a norm after it
        "model=timm model.name=swin_s3_tiny_224 model.pool=own",  # maps with channels last
    ],
)
def test_the_same_as_through_the_whole_network(name: str, head: str) -> None:
    config = train_config(*name.split(), f"model/head={head}", "model.weights=none").model
    torch.manual_seed(0)
    backbone = Backbone(empty_network(config), config)
    size = backbone.own_size
    plain = Preprocess((0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
    model = Classifier(backbone, config, list("abcd"), plain, size).eval()
    for parameter in model.head.parameters():
        nn.init.normal_(parameter, std=0.3)
    classes, photos = torch.tensor([3, 1]), torch.randn(2, 3, *size)
    features = backbone(photos)
    features.retain_grad()
    logits = model.head(backbone.pool(features, size))
    logits.gather(1, classes[:, None]).sum().backward()
    assert features.grad is not None
    maps, gradients = (backbone.as_map(x, size) for x in (features, features.grad))
    assert torch.equal(backbone.as_features(maps, features), features)
    weighed = (gradients.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach()
    assert weighed.any()
    expected = weighed / weighed.amax((1, 2), keepdim=True).clamp_min(1e-12)
    with torch.no_grad():
        result = GradCam(model)(features, classes, size)
        assert torch.equal(model(photos), logits)
    assert result.shape == (2, *maps.shape[2:])
    assert torch.allclose(result, expected, atol=1e-4)


def test_a_class_token_has_no_grad_cam_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    config = train_config("model=timm", "model.name=test_vit", "model.weights=none").model
    backbone = Backbone(empty_network(config), config)
    plain = Preprocess((0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
    model = Classifier(backbone, config, ["a", "b"], plain, backbone.own_size)
    assert grad_cam(model) is None
    (line,) = caplog.messages
    assert line == (
        "no Grad-CAM of test_vit: its head sees only the class token, not the patches of the photo"
    )


def test_named_views() -> None:
    preprocess = Preprocess((0.5,) * 3, (0.5,) * 3, "bilinear", 0.5)
    photo = torch.randint(0, 255, (3, 40, 60), dtype=torch.uint8)
    views = dict(zip(NAMES, Views(NAMES, (10, 12), preprocess)(photo), strict=True))
    assert all(view.shape == (3, 10, 12) for view in views.values())
    assert torch.equal(views["centre"], CentreCrop((10, 12), preprocess)(photo))
    assert torch.equal(views["flip"], views["centre"].flip(2))
    assert torch.equal(views["whole_flip"], views["whole"].flip(2))
    assert len({view.numpy().tobytes() for view in views.values()}) == 8
    # A photo that gets brighter to the right and down tells which corner is which.
    ramp = torch.arange(40)[:, None] * 2 + torch.arange(60)[None]
    views = dict(zip(NAMES, Views(NAMES, (10, 12), preprocess)(
        ramp.expand(3, 40, 60).to(torch.uint8)
    ).float().mean((1, 2, 3)).tolist(), strict=True))  # fmt: skip
    # Resized to 20 x 30 a pixel is two; the corners' middles are rows 10, 30 and columns 12, 48.
    expected = {"top_left": 32, "top_right": 68, "bottom_left": 72, "bottom_right": 108}
    assert {name: views[name] for name in expected} == pytest.approx(expected, abs=2)
    assert views["whole"] == pytest.approx(float(ramp.float().mean()), abs=1)
