"""The order and augmentation of an epoch depend only on seed and epoch."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from pets.data.dataset import Draw, EpochSampler
from pets.data.prepare import prepare_photos
from pets.data.transforms import Preprocess
from pets.seeding import derive
from pets.training.datamodule import PetsDataModule
from pets.training.stage import Inputs, Stage
from tests.conftest import train_config

PLAIN = Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", 0.875)


def module(drawn: Path, *overrides: str, stage: str = "head") -> PetsDataModule:
    config = train_config(f"data.root={drawn}", "data.size=32", "data.batch_size=16", *overrides)
    photos = prepare_photos(config.data)
    plan = config.plan.stages[stage]
    value = Stage.of_plan(stage, plan, Inputs(config.size_of(plan)), config.seed)
    return PetsDataModule(config.data, config.augment, PLAIN, photos, value.inputs, value)


def epoch(loader: DataLoader, number: int) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[type-arg]
    loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    photos, targets = zip(*loader, strict=True)
    return torch.cat(photos), torch.cat(targets)


def test_seeds_are_derived_from_names() -> None:
    assert derive(0, "a", 1) == derive(0, "a", 1)
    assert len({derive(s, n, i) for s in (0, 1) for n in "ab" for i in range(50)}) == 200
    assert 0 <= derive(42, "x") < 2**63


def test_sampler_covers_everything_in_a_new_order_each_epoch() -> None:
    sampler = EpochSampler([0] * 50, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(d.row for d in first) == list(range(50))
    assert [d.row for d in first] != [d.row for d in second]
    assert not {d.seed for d in first} & {d.seed for d in second}
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_photos_do_not_depend_on_workers_or_earlier_draws(drawn: Path) -> None:
    alone = epoch(module(drawn, "data.num_workers=0").train_dataloader(), 2)
    loader = module(drawn, "data.num_workers=2").train_dataloader()
    epoch(loader, 0)
    torch.rand(5)
    after_others = epoch(loader, 2)
    assert torch.equal(alone[0], after_others[0])
    assert torch.equal(alone[1], after_others[1])


def test_stages_and_seeds_differ(drawn: Path) -> None:
    head = epoch(module(drawn, "data.num_workers=0").train_dataloader(), 0)[1]
    body = module(drawn, "data.num_workers=0", stage="body")
    assert not torch.equal(head, epoch(body.train_dataloader(), 0)[1])
    other = module(drawn, "data.num_workers=0", "seed=1")
    assert not torch.equal(head, epoch(other.train_dataloader(), 0)[1])


def test_evaluation_uses_every_photo_in_table_order(drawn: Path) -> None:
    data = module(drawn, "data.num_workers=0")
    photos, targets = zip(*data.val_dataloader(), strict=True)
    rows = data.photos.of("valid")
    assert len(torch.cat(photos)) == len(rows) == 20
    assert [data.photos.classes[t] for t in torch.cat(targets).tolist()] == [p.label for p in rows]


def test_the_last_small_batch_is_dropped_in_training_only(drawn: Path) -> None:
    data = module(drawn, "data.num_workers=0")
    assert len(data.photos.of("train")) == 60
    assert [len(t) for _, t in data.train_dataloader()] == [16, 16, 16]
    assert [len(t) for _, t in data.val_dataloader()] == [16, 4]


def test_ranks_draw_equally_many_photos_of_an_epoch() -> None:
    whole = EpochSampler([0] * 11, seed=3)
    ranks = [EpochSampler([0] * 11, seed=3, rank=rank, ranks=2) for rank in range(2)]
    for sampler in (whole, *ranks):
        sampler.set_epoch(4)
    order = list(whole)
    assert [list(sampler) for sampler in ranks] == [order[0:10:2], order[1:10:2]]
    assert [len(sampler) for sampler in ranks] == [5, 5]


# 40 photos: 25 of class 0, 2 of class 1, 4 of class 2 and 9 of class 3.
LOPSIDED = [0] * 20 + [1, 1] + [2] * 4 + [3] * 9 + [0] * 5


def drawn_rows(kind: str, epoch: int = 0, **options: int) -> list[int]:
    sampler = EpochSampler(LOPSIDED, seed=3, kind=kind, **options)
    sampler.set_epoch(epoch)
    return [draw.row for draw in sampler]


def test_an_order_does_not_change_between_versions() -> None:
    """Runs trained before are resumed."""
    assert drawn_rows("shuffle")[:8] == [28, 39, 30, 27, 13, 5, 26, 36]
    assert drawn_rows("balanced")[:8] == [21, 32, 20, 27, 34, 23, 21, 26]
    assert drawn_rows("weighted")[:8] == [27, 32, 20, 17, 13, 23, 8, 21]
    assert next(iter(EpochSampler(LOPSIDED, seed=3))).seed == 5233145204113823776


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("shuffle", [25, 2, 4, 9]),
        ("balanced", [10, 10, 10, 10]),
        ("weighted", [17.52, 4.96, 7.01, 10.51]),
    ],
)
def test_classes_are_drawn_as_often_as_the_sampler_says(kind: str, expected: list[float]) -> None:
    """Weighted: 5, 1.41, 2 and 3 of 11.41. What is no whole number is right on average."""
    sums: Counter[int] = Counter()
    for epoch in range(200):
        rows = drawn_rows(kind, epoch)
        assert len(rows) == 40
        times = Counter(LOPSIDED[row] for row in rows)
        assert all(abs(times[c] - n) <= 1 for c, n in enumerate(expected))
        sums += times
        photos = Counter(rows)
        for c in range(4):
            each = [photos[row] for row in range(40) if LOPSIDED[row] == c]
            assert max(each) - min(each) <= 1
    assert [sums[c] / 200 for c in range(4)] == pytest.approx(expected, abs=0.1)


def test_rare_photos_are_spread_and_common_ones_take_turns() -> None:
    rows = drawn_rows("balanced")
    assert [LOPSIDED[row] for row in rows] != sorted(LOPSIDED[row] for row in rows)
    common = [{r for r in drawn_rows("balanced", e) if LOPSIDED[r] == 0} for e in range(12)]
    assert len(set.union(*common)) == 25
    assert common[0] != common[1]


@pytest.mark.parametrize("kind", ["balanced", "weighted"])
def test_photos_drawn_again_are_augmented_differently(kind: str) -> None:
    draws = list(EpochSampler(LOPSIDED, seed=3, kind=kind))
    assert len({draw.row for draw in draws}) < len({draw.seed for draw in draws}) == 40
    # The first time as an epoch that draws it once would.
    shuffled = {draw.row: draw.seed for draw in EpochSampler(LOPSIDED, seed=3)}
    for row in {draw.row for draw in draws}:
        assert next(draw.seed for draw in draws if draw.row == row) == shuffled[row]


@pytest.mark.parametrize("kind", ["balanced", "weighted"])
def test_ranks_share_a_balanced_order_and_resume_in_it(kind: str) -> None:
    def draws(**options: int) -> list[Draw]:
        sampler = EpochSampler(LOPSIDED, seed=3, kind=kind, **options)
        sampler.set_epoch(4)
        return list(sampler)

    whole = draws()
    assert [draws(rank=rank, ranks=3) for rank in range(3)] == [whole[r:39:3] for r in range(3)]
    assert draws(epoch=4, drawn=16) == whole[16:]
    assert draws(rank=1, ranks=2, epoch=4, drawn=8) == whole[17::2]
    assert draws(epoch=3, drawn=16) == whole


def test_a_balanced_epoch_does_not_depend_on_workers(drawn: Path, tmp_path: Path) -> None:
    rare = tmp_path / "rare.txt"
    photos = sorted(path.name for path in (drawn / "images").iterdir())
    rare.write_text("\n".join(name for name in photos if name[0] in "HST" or name[-5] in "0123"))
    args = (f"data.photo_list={rare}", "data.sampler=balanced", "data.batch_size=5")
    alone = module(drawn, *args, "data.num_workers=0")
    loader = module(drawn, *args, "data.num_workers=2").train_dataloader()
    epoch(loader, 0)
    pixels, targets = epoch(loader, 2)
    mine, mine_too = epoch(alone.train_dataloader(), 2)
    assert torch.equal(pixels, mine)
    assert torch.equal(targets, mine_too)
    own = Counter(photo.label for photo in alone.photos.of("train"))
    assert max(own.values()) > 2 * min(own.values())
    assert len(pixels.flatten(1).unique(dim=0)) == len(pixels)
    times = Counter(targets.tolist()).values()
    assert max(times) - min(times) <= 2
