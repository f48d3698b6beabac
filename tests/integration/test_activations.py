"""Activations in the cache: the rows of the right photos, and never stale ones."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from pets.config import TrainConfig
from pets.data.activation_dataset import Activations
from pets.data.photos import Photos
from pets.data.prepare import prepare_photos
from pets.data.splits import TRAIN, VALID
from pets.features.activations import activations
from pets.models.classifier import Classifier, new_backbone, new_classifier
from pets.training.datamodule import PetsDataModule
from pets.training.inputs import prepare_inputs
from pets.training.stage import Inputs, Stage
from pets.training.trainer import build_trainer
from tests.conftest import train_config
from tests.integration.test_precompute import HEAD


def learner(root: Path, *args: str) -> tuple[TrainConfig, Classifier, PetsDataModule]:
    """Config, network and data on a cache beside the photos."""
    config = train_config(
        f"data.root={root}", f"cache_dir={root.parent}/cache", *HEAD, "precompute.enabled=true",
        "trainer.accelerator=cpu", *args,
    )  # fmt: skip
    backbone, preprocess, _ = new_backbone(config.model, config.seed)
    photos = prepare_photos(config.data)
    size = config.data.height_width
    model = new_classifier(backbone, config.model, photos.classes, preprocess, size, config.seed)
    return config, model, data_of(config, model, photos)


def data_of(
    config: TrainConfig,
    model: Classifier,
    photos: Photos,
    activations: Mapping[str, Activations] | None = None,
) -> PetsDataModule:
    """The first stage's data, on photos or on activations."""
    inputs = Inputs(config.data.height_width, activations)
    stage = Stage.of_plan("head", config.plan.stages["head"], inputs, config.seed)
    return PetsDataModule(config.data, config.augment, model.preprocess, photos, inputs, stage)


def found(root: Path, *args: str) -> dict[str, Activations]:
    config, model, data = learner(root, *args)
    return activations(config, model, data.photos, data.inputs.size, build_trainer)


def passes(caplog: pytest.LogCaptureFixture) -> int:
    """How many passes were made since the last question."""
    count = sum(" MB in " in r.getMessage() for r in caplog.records)
    caplog.clear()
    return count


@pytest.fixture
def photos(drawn: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    """Photos that may be changed, and whose activations are in the cache."""
    caplog.set_level(logging.INFO)
    root = Path(shutil.copytree(drawn, tmp_path / "pets"))
    found(root)
    assert passes(caplog) == 1
    found(root)
    assert passes(caplog) == 0
    return root


def test_rows_are_those_of_the_photos(photos: Path) -> None:
    config, model, data = learner(photos)
    kept = activations(config, model, data.photos, data.inputs.size, build_trainer)
    model.eval()
    for split in (TRAIN, VALID):
        rows = data.photos.of(split)
        inputs = torch.stack(
            [
                data._dataset(VALID).transform(data._dataset(split).photos[place])
                for place in (0, 7, len(rows) - 1)
            ]
        )
        with torch.no_grad():
            maps = model.backbone(data.normalize(inputs))
        expected = torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], 1)
        cached = data_of(config, model, data.photos, kept)
        values, targets = cached._dataset(split).__getitems__([0, 7, len(rows) - 1])
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
        assert targets.tolist() == [
            data.photos.classes.index(rows[place].label) for place in (0, 7, len(rows) - 1)
        ]


def test_an_edited_photo_is_a_miss(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Same name, same size, same time of change."""
    photo = sorted((photos / "images").iterdir())[3]
    before, content = photo.stat(), bytearray(photo.read_bytes())
    content[-40] ^= 1
    photo.write_bytes(content)
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert photo.stat().st_size == before.st_size
    found(photos)
    assert passes(caplog) == 1


def test_a_renamed_photo_is_no_miss_and_keeps_its_row(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, data = learner(photos)
    old = data.photos.of(TRAIN)[5]
    (content,) = data.photos.contents([old])
    label = old.label
    (photos / old.path).rename(photos / "images" / f"{label}_999.jpg")
    config, model, data = learner(photos)
    kept = activations(config, model, data.photos, data.inputs.size, build_trainer)
    assert passes(caplog) == 0
    (renamed,) = [row for row in data.photos.rows if row.path.endswith(f"{label}_999.jpg")]
    assert data.photos.contents([renamed]) == [content]
    assert content in kept[TRAIN].rows


def test_a_moved_folder_another_split_and_other_labels_are_no_miss(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found(photos, "data.split_seed=7")
    found(photos, "data.label_regex='^(.)'")
    found(photos, "seed=3", "model/head=concat_pool", "plan.stages.head.lr=1e-2", "augment=trivial")
    moved = photos.rename(tmp_path / "elsewhere")
    found(moved)
    assert passes(caplog) == 0


@pytest.mark.parametrize(
    "change",
    [
        "data.size=64",
        "precompute.dtype=float16",
        "model.channels_last=false",
        "precompute.views=1",
        "precompute.engine=folded",
        "trainer.precision=bf16-mixed",
    ],
)
def test_another_setting_is_a_miss(
    photos: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    found(photos, change)
    assert passes(caplog) >= 1
    found(photos)
    assert passes(caplog) == 0


def test_other_weights_are_a_miss(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One number of one tensor, under the same name of network and package."""
    config, model, data = learner(photos)
    with torch.no_grad():
        next(model.backbone.parameters())[0, 0, 1, 1] += 1e-6
    activations(config, model, data.photos, data.inputs.size, build_trainer)
    assert passes(caplog) == 1


def test_another_photo_or_one_less_is_a_miss(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = sorted((photos / "images").iterdir())[-1]
    gone.rename(photos.parent / "gone.jpg")
    found(photos)
    assert passes(caplog) == 1
    (photos.parent / "gone.jpg").rename(gone)
    found(photos)
    assert passes(caplog) == 0


def test_two_photos_of_the_same_content_share_a_row(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo = sorted((photos / "images").iterdir())[0]
    shutil.copy(photo, photo.with_name(photo.stem.rpartition("_")[0] + "_998.jpg"))
    config, model, data = learner(photos)
    kept = activations(config, model, data.photos, data.inputs.size, build_trainer)
    assert passes(caplog) == 0  # the set of contents is the same
    data = data_of(config, model, data.photos, kept)
    assert sum(len(data.photos.of(split)) for split in ("train", "valid", "test")) == 101


def test_views_are_augmented_each_and_chosen_by_the_draw(photos: Path) -> None:
    config, model, data = learner(photos, "precompute.views=3")
    kept = activations(config, model, data.photos, data.inputs.size, build_trainer)
    train, valid = kept[TRAIN], kept[VALID]
    assert train.values.shape == (60, 3, 2560)
    assert valid.values.shape == (40, 1, 2560)
    between_views = (train.values[:, 0] - train.values[:, 1]).abs().mean()
    between_photos = (train.values[:-1, 0] - train.values[1:, 0]).abs().mean()
    assert 0.05 * between_photos < between_views < between_photos
    data = data_of(config, model, data.photos, kept)
    loader = data.train_dataloader()
    seen = set()
    for epoch in range(12):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch, _ in loader:
            for row in batch:
                (at,) = torch.nonzero((train.values == row).all(-1)).tolist()
                seen.add(tuple(at))
    assert len(seen) > 0.9 * 60 * 3


def test_a_head_that_pools_by_itself_gets_whole_maps(photos: Path) -> None:
    _, model, data = learner(photos)
    config, _, _ = learner(photos)

    class Own(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :10]

    model.head, model.backbone.pooling = Own(), "map"
    stage = config.plan.stages["head"]
    inputs = prepare_inputs(config, stage, model, data.photos, 4)
    assert inputs.activations is not None
    assert inputs.activations[TRAIN].values.shape == (100, 1, 1280, 3, 3)
    data = data_of(config, model, data.photos, inputs.activations)
    batch, _ = next(iter(data.val_dataloader()))
    assert torch.equal(model.from_activations(batch), batch.flatten(1)[:, :10])
