"""Augmentation in two halves: the same photos as one by one, in the same distribution."""

import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as VF

from pets.config import AugmentConfig
from pets.data.augment import LessonCrop, resize_to_cover
from pets.data.device_augment import UNCHANGED, DeviceAugment, Numbers, device_augment
from pets.data.images import open_rgb
from pets.data.transforms import (
    Preprocess,
    eval_transform,
    normalize,
    to_tensor,
    train_pixels,
)
from pets.seeding import torch_stream
from tests.conftest import train_config
from tests.photo_by_photo import train_transform

PLAIN = Preprocess((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", 0.875)
IMAGENET = Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.875)
LESSON = train_config().augment


@pytest.fixture(autouse=True)
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole batches in one piece, as on a GPU, however few threads there are."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)


def augmenting(
    size: tuple[int, int],
    side: tuple[int, int],
    preprocess: Preprocess = PLAIN,
    augment: AugmentConfig = LESSON,
) -> DeviceAugment:
    result = device_augment(augment, size, preprocess, side)
    assert result is not None
    return result


def smooth(height: int, width: int) -> Tensor:
    """A picture of slow waves, about 5 levels from pixel to pixel, without any symmetry."""
    y, x = torch.arange(height)[:, None] / 19, torch.arange(width)[None, :] / 23
    waves = [torch.sin(x + 0.5 * y), torch.cos(0.7 * x - y), torch.sin(y) * torch.cos(x + 1)]
    return (127.5 + 95 * torch.stack(waves)).round().to(torch.uint8)


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def ramp(height: int, width: int) -> Tensor:
    """A picture whose red is the row and whose green is the column."""
    y = torch.arange(height)[:, None].expand(height, width)
    x = torch.arange(width)[None, :].expand(height, width)
    return torch.stack([y, x, torch.zeros_like(x)]).to(torch.uint8)


def levels(augment: DeviceAugment, crops: Tensor, numbers: Numbers[float]) -> Tensor:
    """All crops with the same numbers, as levels 0..255."""
    return augment(crops, torch.tensor(numbers).expand(len(crops), -1)) * 255


def batch(augment: DeviceAugment, photos: list[Tensor], seeds: list[int]) -> tuple[Tensor, Tensor]:
    pairs = []
    for photo, seed in zip(photos, seeds, strict=True):
        with torch_stream(seed):
            pairs.append(augment.draw(photo))
    crops, draws = zip(*pairs, strict=True)
    return torch.stack(crops), torch.stack(draws)


# What changes nothing.


def test_unchanged_crop_of_the_final_size_is_itself() -> None:
    crops = torch.stack([noise(20, 30), noise(20, 30, seed=1)])
    out = augmenting((20, 30), (20, 30), IMAGENET)(crops, torch.tensor(UNCHANGED).expand(2, -1))
    assert out.dtype == torch.float32
    assert torch.allclose(out, normalize(IMAGENET)(crops), atol=1e-5)


def test_unchanged_crop_is_resampled() -> None:
    out = levels(augmenting((28, 14), (32, 16)), ramp(32, 16)[None], UNCHANGED)[0]
    # Pixel i of n is read at (i + 1/2) * side / n - 1/2: on a ramp, that is also its value.
    rows = ((torch.arange(28) + 0.5) * 32 / 28 - 0.5).round()
    columns = ((torch.arange(14) + 0.5) * 16 / 14 - 0.5).round()
    assert torch.allclose(out[0], rows[:, None].expand(28, 14), atol=1e-4)
    assert torch.allclose(out[1], columns[None, :].expand(28, 14), atol=1e-4)
    assert (out[2] == 0).all()


@pytest.mark.parametrize(("height", "width"), [(27, 60), (27, 48), (71, 36), (27, 36)])
def test_without_a_crop_it_is_the_centre_crop(height: int, width: int) -> None:
    # Sizes whose halves are rounded alike; elsewhere the two may be a pixel apart.
    none = train_config("augment=none").augment
    augment = augmenting((24, 32), (27, 36), IMAGENET, none)  # 24 / 0.875 and 32 / 0.875
    photo = noise(height, width)
    with torch_stream(0):
        crop, draws = augment.draw(photo)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))
    expected = eval_transform((24, 32), IMAGENET)(photo)
    assert torch.allclose(augment(crop[None], draws[None])[0], expected, atol=1e-5)


def test_flip_without_a_crop() -> None:
    flip = LESSON.model_copy(update={"crop": None, "photo": {"flip": LESSON.photo["flip"]}})
    augment = augmenting((24, 32), (27, 36), PLAIN, flip)
    crops = noise(27, 36)[None]
    straight = levels(augment, crops, UNCHANGED)
    assert torch.equal(levels(augment, crops, UNCHANGED._replace(flip=1.0)), straight.flip(-1))
    _, draws = batch(augment, [noise(27, 36)] * 400, list(range(400)))
    assert draws[:, 4].mean() == pytest.approx(0.5, abs=0.1)  # four standard errors
    assert torch.equal(draws[:, [0, 1, 5]], torch.tensor([[0.0, 1.0, 1.0]]).expand(400, 3))


# Beside the chain for single photos, with the same numbers.


@pytest.mark.parametrize("position", [(0.0, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize(
    "numbers",
    [
        {"angle": math.radians(10)},
        {"angle": math.radians(-7)},
        {"zoom": 1.1},
        {"lean_down": 0.2},
        {"lean_right": -0.2},
        {"flip": 1.0},
        {"angle": 0.1, "zoom": 1.05, "lean_down": -0.1, "lean_right": 0.15, "flip": 1.0},
    ],
)
@pytest.mark.parametrize(("size", "side"), [((56, 56), (64, 64)), ((40, 80), (48, 96))])
def test_geometry_is_that_of_single_photos(
    size: tuple[int, int],
    side: tuple[int, int],
    numbers: dict[str, float],
    position: tuple[float, float],
) -> None:
    given = UNCHANGED._replace(**numbers)
    crop = LessonCrop(size, PLAIN.mode)
    photo = smooth(200, 320)
    lean = (given.lean_down, given.lean_right)
    params = {"position": position, "angle": given.angle, "zoom": given.zoom, "lean": lean}
    expected = crop.transform(photo, params).float()
    expected = expected.flip(-1) if given.flip else expected
    small = resize_to_cover(photo, list(side), PLAIN.mode)
    top, left = (
        round(p * (a - b)) for p, a, b in zip(position, small.shape[1:], side, strict=True)
    )
    cut = small[:, top : top + side[0], left : left + side[1]]
    out = levels(augmenting(size, side), cut[None], given)[0]
    # Both shrink the same waves, once to a tenth more than the final size and once to a seventh or
    # a fifth, and round to levels twice: 3 apart at most. A pixel to the side would make 20.
    assert (out - expected).abs().max() < 3.5
    assert (out - expected).abs().mean() < 0.6


@pytest.mark.parametrize(("size", "side"), [((40, 40), (44, 44)), ((40, 80), (44, 88))])
def test_same_seed_gives_the_chains_photo(size: tuple[int, int], side: tuple[int, int]) -> None:
    chain = train_transform(LESSON, size, IMAGENET)
    assert chain.transforms[0].transforms[0].presize == list(side)
    augment = augmenting(size, side, IMAGENET)
    # Already as large as the chain would make them, so that nothing but arithmetic can differ.
    landscape, portrait = (side[0], side[1] + 30), (side[0] + 30, side[1])
    photos = [noise(*(portrait if seed % 2 else landscape), seed) for seed in range(60)]
    out = augment(*batch(augment, photos, list(range(60))))
    for seed, photo in enumerate(photos):
        with torch_stream(seed):
            expected = chain(photo)
        # A sum in another order may be cut off, or rounded, to the next level.
        off = (out[seed] - expected).abs() > 1e-4
        assert off.float().mean() < 0.002
        assert (out[seed] - expected).abs().max() < 2.2 / 255 / 0.224


@pytest.mark.parametrize("contrast_first", [0.0, 1.0])
@pytest.mark.parametrize("brightness", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("contrast", [0.8, 1.0, 1.2])
def test_lighting_is_torchvisions(
    brightness: float, contrast: float, contrast_first: float
) -> None:
    # A dark and a bright photo: the contrast of each is about its own mean.
    crops = torch.stack([noise(24, 24) // 4, 255 - noise(24, 24, seed=1) // 2])
    given = UNCHANGED._replace(
        brightness=brightness, contrast=contrast, contrast_first=contrast_first
    )
    out = levels(augmenting((24, 24), (24, 24)), crops, given)
    steps: list[Callable[[Tensor], Tensor]] = [
        lambda photo: VF.adjust_brightness(photo, brightness),
        lambda photo: VF.adjust_contrast(photo, contrast),
    ]
    for photo, crop in zip(out, crops, strict=True):
        for step in steps[::-1] if contrast_first else steps:
            crop = step(crop)
        assert (photo - crop).abs().max() < 1.001
        assert ((photo - crop).abs() < 0.001).float().mean() > 0.999


# Distributions.


def chain_numbers(photo: Tensor, draws: int) -> dict[str, list[float]]:
    """What `train_pixels` draws, taken from its own transforms at work."""
    chain = train_pixels(LESSON, (56, 56), PLAIN)
    crop, flip, lighting = chain.transforms
    jitter = lighting.transforms[0]
    result: dict[str, list[float]] = defaultdict(list)

    def crops(inpt: Tensor, params: dict[str, object]) -> Tensor:
        result["top"].append(params["position"][0])
        result["left"].append(params["position"][1])
        result["angle"].append(params["angle"])
        result["zoom"].append(params["zoom"])
        result["lean_down"].append(params["lean"][0])
        result["lean_right"].append(params["lean"][1])
        return inpt

    def flips(inpt: Tensor, params: dict[str, object]) -> Tensor:
        result["flip"][-1] = 1.0
        return inpt

    def lights(inpt: Tensor, params: dict[str, object]) -> Tensor:
        order = params["fn_idx"].tolist()
        result["brightness"][-1] = params["brightness_factor"]
        result["contrast"][-1] = params["contrast_factor"]
        result["contrast_first"][-1] = float(order.index(1) < order.index(0))
        return inpt

    crop.transform, flip.transform, jitter.transform = crops, flips, lights
    for _ in range(draws):
        for name in ("flip", "brightness", "contrast", "contrast_first"):
            result[name].append(getattr(UNCHANGED, name))
        chain(photo)
    return result


def test_numbers_are_distributed_as_in_the_chain() -> None:
    count = 6000
    photo = ramp(256, 256)  # red and green of a crop's first pixel say where it was cut
    augment = augmenting((56, 56), (56, 56))
    with torch_stream(3):
        theirs = chain_numbers(photo, count)
    with torch_stream(4):
        pairs = [augment.draw(photo) for _ in range(count)]
    draws = torch.stack([draw for _, draw in pairs])
    ours = {name: draws[:, i].tolist() for i, name in enumerate(Numbers._fields)}
    ours["top"] = [int(crop[0, 0, 0]) / 200 for crop, _ in pairs]
    ours["left"] = [int(crop[1, 0, 0]) / 200 for crop, _ in pairs]

    within = {
        "top": (0, 1, 1),
        "left": (0, 1, 1),
        "angle": (-math.radians(10), math.radians(10), 0.75),
        "zoom": (1, 1.1, 0.75),
        "lean_down": (-0.2, 0.2, 0.75),
        "lean_right": (-0.2, 0.2, 0.75),
        "brightness": (0.8, 1.2, 0.75),
        "contrast": (0.8, 1.2, 0.75),
    }
    for name, (low, high, chance) in within.items():
        still = getattr(UNCHANGED, name, None)
        a, b = ([v for v in numbers[name] if v != still] for numbers in (ours, theirs))
        for drawn in (a, b):
            # Four standard errors of a share, and of the mean of an even spread.
            share = 4 * math.sqrt(chance * (1 - chance) / count)
            assert len(drawn) / count == pytest.approx(chance, abs=share + 1e-9), name
            spread = (high - low) / math.sqrt(12)
            middle = (low + high) / 2
            assert np.mean(drawn) == pytest.approx(middle, abs=4 * spread / math.sqrt(len(drawn)))
            assert np.std(drawn) == pytest.approx(spread, rel=0.03)
            assert low - 1e-6 <= min(drawn) < low + 0.005 * (high - low), name
            assert high - 0.005 * (high - low) < max(drawn) <= high + 1e-6, name
        assert stats.ks_2samp(a, b).pvalue > 0.001, name
    for numbers in (ours, theirs):
        assert np.mean(numbers["flip"]) == pytest.approx(0.5, abs=0.026)
        lit = np.array(numbers["brightness"]) != 1
        assert np.array(numbers["contrast_first"])[lit].mean() == pytest.approx(0.5, abs=0.03)
        assert not np.array(numbers["contrast_first"])[~lit].any()
    # Each by itself: no two of the columns go together.
    columns = np.array([ours[name] for name in [*Numbers._fields[:5], "brightness", "top", "left"]])
    apart = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(apart).max() < 4.5 / math.sqrt(count)


def test_pixels_are_distributed_as_in_the_chain(drawn: Path) -> None:
    size, side, views = (32, 32), (36, 36), 8
    files = sorted(drawn.rglob("*.jpg"))
    photos = [to_tensor(open_rgb(file)) for file in files]
    cached = [resize_to_cover(photo, list(side), IMAGENET.mode) for photo in photos]
    chain, augment = train_transform(LESSON, size, IMAGENET), augmenting(size, side, IMAGENET)
    ours, theirs = [], []
    for view in range(views):
        seeds = [1000 * view + place for place in range(len(photos))]
        ours.append(augment(*batch(augment, cached, [seed + 500 for seed in seeds])))
        for photo, seed in zip(photos, seeds, strict=True):
            with torch_stream(seed):
                theirs.append(chain(photo))
    a = torch.stack(ours).transpose(0, 1)  # (photos, views, 3, h, w)
    b = torch.stack(theirs).reshape(views, len(photos), 3, *size).transpose(0, 1)

    def apart(measure: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean difference between both, per photo, in standard errors."""
        difference = (measure(a) - measure(b)).double()
        return difference.mean(0) / (difference.std(0) / math.sqrt(len(difference)))

    assert apart(lambda x: x.mean((1, 3, 4))).abs().max() < 4
    assert apart(lambda x: x.std((3, 4)).mean(1)).abs().max() < 4
    # The largest of 3,072 positions; most of them lie within one.
    places = apart(lambda x: x.mean(1))
    assert places.abs().max() < 5
    assert 0.7 < places.std() < 1.3


# Batches.


def test_a_photo_does_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    augment = augmenting((28, 36), (32, 41), IMAGENET)
    photos = [noise(32, 60, seed) // (1 + seed % 3) for seed in range(7)]
    crops, draws = batch(augment, photos, list(range(7)))
    together = augment(crops, draws)
    order = [4, 0, 6]
    assert torch.equal(augment(crops[order], draws[order]), together[order])
    for place in range(7):
        assert torch.equal(augment(crops[[place]], draws[[place]])[0], together[place])
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert torch.equal(augment(crops, draws), together)


def test_augmentation_depends_only_on_the_seed() -> None:
    augment = augmenting((28, 28), (32, 32))
    photos = [noise(32, 90)] * 3
    crops, draws = batch(augment, photos, [5, 5, 6])
    before = torch.get_rng_state()
    first, again, other = augment(crops, draws)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(draws[0], draws[2])


def test_draw_cuts_without_copying() -> None:
    photo = ramp(40, 100)
    with torch_stream(0):
        crop, numbers = augmenting((34, 34), (40, 40)).draw(photo)
    assert (crop.dtype, crop.shape) == (torch.uint8, (3, 40, 40))
    assert (numbers.dtype, numbers.shape) == (torch.float32, (8,))
    assert crop.untyped_storage().data_ptr() == photo.untyped_storage().data_ptr()
    assert torch.equal(crop[0, :, 0], torch.arange(40, dtype=torch.uint8))
    assert torch.equal(crop[1, 0].diff(), torch.ones(39, dtype=torch.uint8))


# What it takes.


def changed(**photo: dict[str, object]) -> AugmentConfig:
    return AugmentConfig.model_validate({"crop": None, "photo": photo, "batch": {}})


def transform(name: str, **arguments: object) -> dict[str, object]:
    return {"_target_": f"torchvision.transforms.v2.{name}", **arguments}


@pytest.mark.parametrize("name", ["lesson", "none", "mixup", "cutmix"])
def test_takes_the_lessons_transforms(name: str) -> None:
    augment = augmenting((8, 8), (9, 9), PLAIN, train_config(f"augment={name}").augment)
    assert isinstance(augment.crop, LessonCrop) == (name != "none")


@pytest.mark.parametrize("name", ["randaugment", "trivial"])
def test_leaves_other_configs(name: str) -> None:
    assert device_augment(train_config(f"augment={name}").augment, (8, 8), PLAIN, (9, 9)) is None


@pytest.mark.parametrize(
    "photo",
    [
        {"a": transform("RandomVerticalFlip")},
        {"a": transform("ColorJitter", brightness=0.2, saturation=0.1)},
        {"a": transform("ColorJitter", hue=0.1)},
        {"a": transform("RandomHorizontalFlip"), "b": transform("RandomHorizontalFlip")},
        {"a": transform("RandomApply", transforms=[transform("RandomHorizontalFlip")])},
        {"a": transform("RandomApply", transforms=[transform("ColorJitter")] * 2)},
    ],
)
def test_leaves_other_transforms(photo: dict[str, dict[str, object]]) -> None:
    assert device_augment(changed(**photo), (8, 8), PLAIN, (9, 9)) is None


def test_takes_parameters_from_the_config() -> None:
    config = changed(
        lighting=transform("ColorJitter", contrast=[0.5, 0.6]),
        flip=transform("RandomHorizontalFlip", p=1.0),
    )
    augment = augmenting((8, 8), (9, 9), PLAIN, config)
    _, draws = batch(augment, [noise(9, 20)] * 200, list(range(200)))
    numbers = Numbers(*draws.unbind(1))
    assert (numbers.flip == 1).all()
    assert (numbers.brightness == 1).all()
    assert 0.5 <= numbers.contrast.min() < 0.51
    assert 0.59 < numbers.contrast.max() <= 0.6


def test_is_no_part_of_a_checkpoint() -> None:
    assert not augmenting((8, 8), (9, 9)).state_dict()


def test_a_side_that_would_break_up_lines_is_left_to_the_loaders() -> None:
    assert device_augment(LESSON, (224, 224), PLAIN, (256, 256)) is not None
    assert device_augment(LESSON, (224, 224), PLAIN, (288, 288)) is None
