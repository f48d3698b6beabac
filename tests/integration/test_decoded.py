"""Photos decoded once: the same pixels for evaluation, the same augmentation for training."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from pets.cache.store import Store
from pets.config import TrainConfig
from pets.data.dataset import Draw
from pets.data.decoded import DecodedPhotos, Decoder
from pets.data.photos import Photos
from pets.data.prepare import prepare_photos
from pets.data.splits import TRAIN, VALID
from pets.data.transforms import Preprocess
from pets.training.datamodule import PetsDataModule
from pets.training.stage import Inputs, Stage
from tests.conftest import train_config
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, status

SIZE = (64, 64)
BICUBIC = Preprocess((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.875)


def fed(root: Path, *args: str) -> tuple[TrainConfig, PetsDataModule]:
    """Data of 64 pixels whose decoded photos lie in a cache beside them."""
    config = train_config(
        f"data.root={root}", f"cache_dir={root.parent}/cache", "data.size=64",
        "data.batch_size=16", "data.num_workers=0", *args,
    )  # fmt: skip
    photos = prepare_photos(config.data)
    return config, data_of(config, photos, Inputs(SIZE))


def data_of(config: TrainConfig, photos: Photos, inputs: Inputs) -> PetsDataModule:
    stage = Stage.of_plan("head", config.plan.stages["head"], inputs, config.seed)
    return PetsDataModule(config.data, config.augment, BICUBIC, photos, inputs, stage)


def from_cache(config: TrainConfig, data: PetsDataModule) -> PetsDataModule:
    """The same on decoded photos."""
    return data_of(config, data.photos, Inputs(SIZE, decoded=kept(config, data)))


def kept(config: TrainConfig, data: PetsDataModule) -> DecodedPhotos:
    return Decoder(config.data, BICUBIC, SIZE, config.cache_dir).decoded(data.photos)


@pytest.fixture
def photos(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "pets"))


def test_evaluation_sees_the_very_pixels_of_the_files(photos: Path) -> None:
    config, data = fed(photos)
    from_files = [batch for batch, _ in data.val_dataloader()]
    cached = from_cache(config, data)
    from_pixels = [batch for batch, _ in cached.val_dataloader()]
    assert len(from_files) == len(from_pixels) == 2
    assert all(torch.equal(a, b) for a, b in zip(from_files, from_pixels, strict=True))
    assert from_pixels[0].dtype == torch.uint8


def test_training_photos_are_augmented_alike(photos: Path) -> None:
    """The same random numbers under the same seed; a pixel differs by what shrinking once or twice
    makes of it."""
    config, data = fed(photos)
    data.trainer = None
    first, labels = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    data = from_cache(config, data)
    batch = next(iter(data.train_dataloader()))
    assert batch[0][0].dtype == torch.uint8
    assert batch[0][0].shape == (16, 3, 73, 73)
    second, same_labels = data.on_after_batch_transfer(batch, 0)
    assert second.shape == first.shape
    assert torch.equal(labels, same_labels)
    apart = (first - second).abs().mean((1, 2, 3))
    other = (first - second.roll(1, 0)).abs().mean((1, 2, 3))
    assert apart.max() < 0.06
    assert (apart < 0.25 * other).all()


def test_other_augmentations_work_on_the_decoded_pixels(photos: Path) -> None:
    config, data = fed(photos, "augment=trivial")
    data = from_cache(config, data)
    assert data.on_device is None
    batch, _ = next(iter(data.train_dataloader()))
    assert (batch.shape, batch.dtype) == ((16, 3, 64, 64), torch.uint8)


def test_a_much_larger_side_is_shrunk_with_antialiasing_by_the_loaders(photos: Path) -> None:
    """Else thin lines would break up, and training would see sharper pictures than validation."""
    config, data = fed(photos, "data.cache=decoded", "data.cache_side=96")
    data = from_cache(config, data)
    assert data.on_device is None
    batch, _ = next(iter(data.train_dataloader()))
    assert (batch.shape, batch.dtype) == ((16, 3, 64, 64), torch.uint8)


def test_loader_processes_read_the_same(photos: Path) -> None:
    config, data = fed(photos)
    data = from_cache(config, data)
    alone = list(data.train_dataloader())
    config, data = fed(photos, "data.num_workers=2")
    data = from_cache(config, data)
    for (ours, _), (theirs, _) in zip(alone, data.train_dataloader(), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_it_is_found_again_until_a_photo_or_the_side_changes(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def made() -> bool:
        caplog.clear()
        config, data = fed(photos, *args)
        kept(config, data)
        return "read from" not in caplog.text

    args: list[str] = []
    assert made()
    assert not made()
    photo = sorted((photos / "images").iterdir())[0]
    photo.rename(photo.with_name(photo.name.replace("_0", "_9")))
    assert not made()
    photo = sorted((photos / "images").iterdir())[1]
    photo.write_bytes(photo.read_bytes() + b"!")
    assert made()
    args = ["data.cache=decoded", "data.cache_side=80"]
    assert made()
    sizes = [entry.bytes for entry in Store(photos.parent / "cache").entries()]
    assert sizes[0] == pytest.approx(100 * 80 * 80 * 3, rel=0.01)
    assert sizes[1] == pytest.approx(100 * 73 * 73 * 3, rel=0.01)


def test_the_side_keeps_the_proportions_of_the_size() -> None:
    config = train_config("data.cache=decoded", "data.size=[96,192]", "data.cache_side=150").data
    assert Decoder(config, BICUBIC, (96, 192), "").side == (150, 301)
    plain = train_config("data.size=[96,192]").data
    assert Decoder(plain, BICUBIC, (96, 192), "").side == (109, 219)


def test_a_photo_that_cannot_be_read_stops_it_by_name(photos: Path) -> None:
    photo = sorted((photos / "images").iterdir())[5]
    photo.write_bytes(photo.read_bytes()[:300])
    config, data = fed(photos)
    with pytest.raises(Exception, match=photo.name):
        kept(config, data)
    assert Store(photos.parent / "cache").entries() == []


def test_auto_decides_from_sizes_and_says_so(
    photos: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    config, data = fed(photos)
    decoder = Decoder(config.data, BICUBIC, SIZE, config.cache_dir)
    assert decoder.estimate_bytes(data.photos) == pytest.approx(100 * 73 * 73 * 3, rel=0.01)

    def said(epochs: int) -> tuple[bool, str]:
        caplog.clear()
        return decoder.pays(data.photos, epochs), caplog.messages[-1]

    assert said(2) == (True, "data.cache=auto: 1.6 MB of pixels, epochs: 2; decoded")
    assert said(1) == (
        False, "data.cache=auto: 1.6 MB of pixels, epochs: 1; none, photos are read only once",
    )  # fmt: skip
    monkeypatch.setattr("os.sysconf", lambda name: 1000)
    worth, line = said(4)
    assert not worth
    assert "none, more than half of the memory" in line
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 9))
    assert "none, more than a tenth of the free disk space" in said(4)[1]
    monkeypatch.undo()
    kept(config, data)
    assert said(1) == (True, "data.cache=auto: 1.6 MB of pixels, epochs: 1; decoded")


def test_a_run_on_decoded_photos_ends_where_one_on_files_does(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    said = pets("train", f"data.root={drawn}", *SMALL, "data.cache=auto", "cache_dir=cache").stdout
    assert "data.cache=auto: 3.6 MB of pixels, epochs: 5; decoded" in said
    assert "100 photos decoded, shorter side 109 pixels: 3.6 MB in cache" in said
    assert "100 photos decoded, shorter side 109 pixels: read from cache" in said
    (run,) = pets.runs()
    for ours, theirs in zip(metrics(run), metrics(trained), strict=True):
        assert float(ours["train_loss"]) == pytest.approx(float(theirs["train_loss"]), abs=0.05)
        assert float(ours["valid_loss"]) == pytest.approx(float(theirs["valid_loss"]), abs=0.02)
    pets("eval", f"run={run}", "split=test")
    result = json.loads((run / "eval/test_last.json").read_text())
    assert result["loss"] == pytest.approx(status(run)["results"]["test"]["loss"], abs=1e-6)


def test_a_draw_is_the_same_in_any_batch(photos: Path) -> None:
    config, data = fed(photos)
    data = from_cache(config, data)
    dataset = data._dataset(TRAIN)
    (crop, draws), _ = dataset[Draw(3, 17)]
    (again, same), _ = dataset[Draw(3, 17)]
    (_, differs), _ = dataset[Draw(3, 18)]
    assert torch.equal(crop, again)
    assert torch.equal(draws, same)
    assert not torch.equal(draws, differs)
    assert len(data._dataset(VALID)) == 20  # type: ignore[arg-type]
