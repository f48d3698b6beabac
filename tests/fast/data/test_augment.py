"""The transforms: sizes, determinism, geometry that can be computed by hand."""

import pytest
import torch
from torchvision.transforms import v2

from pets.config.instantiate import build
from pets.data.augment import LessonCrop, resize_to_cover, warp_grid
from pets.data.transforms import (
    CentreCrop,
    Preprocess,
    batch_transforms,
    eval_transform,
)
from pets.seeding import torch_stream
from tests.conftest import train_config
from tests.photo_by_photo import train_transform

PLAIN = Preprocess((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", 0.875)
BILINEAR = v2.InterpolationMode.BILINEAR


def ramp(height: int, width: int) -> torch.Tensor:
    """A picture whose red is the row and whose green is the column."""
    y = torch.arange(height).repeat_interleave(width).reshape(height, width)
    x = torch.arange(width).repeat(height).reshape(height, width)
    return torch.stack([y, x, torch.zeros_like(x)]).to(torch.uint8)


def test_centre_crop_keeps_the_middle() -> None:
    crop = CentreCrop((7, 7), PLAIN)(ramp(8, 16))  # 8 = 7 / 0.875: not resized
    assert crop.shape == (3, 7, 7)
    assert crop[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert crop[1, 0].tolist() == [4, 5, 6, 7, 8, 9, 10]


def test_resize_covers_rectangles() -> None:
    assert resize_to_cover(ramp(50, 100), [20, 20], BILINEAR).shape == (3, 20, 40)
    assert resize_to_cover(ramp(50, 100), [20, 80], BILINEAR).shape == (3, 40, 80)


def test_normalisation_is_that_of_the_weights() -> None:
    chain = eval_transform((4, 4), Preprocess((0.5,) * 3, (0.25,) * 3, "bicubic", 1.0))
    assert torch.equal(
        chain(torch.full((3, 9, 9), 255, dtype=torch.uint8)), torch.full((3, 4, 4), 2.0)
    )


def test_warp_without_change_is_the_identity() -> None:
    grid = warp_grid((3, 5), angle=0.0, zoom=1.0, lean=(0.0, 0.0))
    assert torch.allclose(grid[0, :, 0], torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8]))
    assert torch.allclose(grid[:, 0, 1], torch.tensor([-2 / 3, 0.0, 2 / 3]))


def test_warp_zoom_turn_and_lean() -> None:
    assert torch.allclose(
        warp_grid((4, 4), 0.0, 2.0, (0.0, 0.0)), warp_grid((4, 4), 0, 1, (0, 0)) / 2
    )
    # A quarter turn: what was right is read from below.
    quarter = warp_grid((4, 4), torch.pi / 2, 1.0, (0.0, 0.0))
    straight = warp_grid((4, 4), 0.0, 1.0, (0.0, 0.0))
    assert torch.allclose(
        quarter, torch.stack([-straight[..., 1], straight[..., 0]], -1), atol=1e-6
    )
    # Leaning to the right, the right edge is further away: more of the photo lies nearer there.
    lean = warp_grid((4, 4), 0.0, 1.0, (0.0, 0.2))[..., 0]
    assert torch.allclose(lean[:, -1], torch.tensor(0.75 / 1.15))
    assert torch.allclose(lean[:, 0], torch.tensor(-0.75 / 0.85))


@pytest.mark.parametrize("size", [(24, 24), (16, 32)])
def test_lesson_crop_size_type_and_stream(size: tuple[int, int]) -> None:
    crop = LessonCrop(size, BILINEAR)
    photo = ramp(60, 90)
    views = []
    for seed in (1, 1, 2):
        with torch_stream(seed):
            views.append(crop(photo))
    assert views[0].shape == (3, *size)
    assert views[0].dtype == torch.uint8
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_lesson_crop_without_its_transforms_only_crops() -> None:
    photo = ramp(20, 40)
    with torch_stream(0):
        crop = LessonCrop((20, 20), BILINEAR, zoom=1.0, p=0.0)(photo)
    left = int(crop[1, 0, 0])
    assert torch.equal(crop, photo[:, :, left : left + 20])


@pytest.mark.parametrize("augment", ["none", "lesson", "randaugment", "trivial"])
def test_every_augmentation_gives_the_size(augment: str) -> None:
    config = train_config(f"augment={augment}").augment
    chain = train_transform(config, (24, 32), PLAIN)
    with torch_stream(3):
        out = chain(ramp(64, 48))
    assert out.shape == (3, 24, 32)
    assert out.dtype == torch.float32
    assert 0 <= out.min() <= out.max() <= 1
    assert (len(config.photo) > 0) == (augment != "none")


def test_none_is_the_validation_transform() -> None:
    config = train_config("augment=none").augment
    photo = ramp(64, 48)
    assert torch.equal(
        train_transform(config, (24, 32), PLAIN)(photo), eval_transform((24, 32), PLAIN)(photo)
    )


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixed_batches_share_their_labels(name: str) -> None:
    (mix,) = batch_transforms(train_config(f"augment={name}").augment, n_classes=3)
    torch.manual_seed(0)
    black, white = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    photos, shares = mix(torch.cat([black, white]), torch.tensor([0, 2]))
    assert shares.shape == (2, 3)
    assert torch.allclose(shares.sum(1), torch.ones(2))
    assert 0 < shares[0, 2] < 1
    # The share of the white photo's label is the share of white in the picture.
    assert torch.allclose(photos[0].mean(), shares[0, 2], atol=1e-5)


def test_transforms_are_built_from_their_config() -> None:
    node = train_config().augment.crop
    assert node is not None
    crop = build("augment.crop", node, size=(8, 8), interpolation=BILINEAR)
    assert (crop.rotate, crop.zoom, crop.warp, crop.p) == (10, 1.1, 0.2, 0.75)
