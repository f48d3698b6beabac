"""The order and augmentation of an epoch depend only on seed and epoch."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader

from pets.data.dataset import EpochSampler
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
    sampler = EpochSampler(50, seed=3)
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
    whole = EpochSampler(11, seed=3)
    ranks = [EpochSampler(11, seed=3, rank=rank, ranks=2) for rank in range(2)]
    for sampler in (whole, *ranks):
        sampler.set_epoch(4)
    order = list(whole)
    assert [list(sampler) for sampler in ranks] == [order[0:10:2], order[1:10:2]]
    assert [len(sampler) for sampler in ranks] == [5, 5]
