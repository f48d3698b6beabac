"""Which photos may be labelled: none that looks like one that the run held out."""

from pathlib import Path

import numpy as np
from PIL import Image

from pets.config import LabelConfig
from pets.config.validation import typed
from pets.data.photos import Photo
from pets.labelling.items import NEW, Item, without_look_alikes
from tests.conftest import composed


def drawn(file: Path, seed: int, colour: str = "") -> Path:
    """A picture of few large spots, or of one colour."""
    spots = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.new("RGB", (6, 6), colour) if colour else Image.fromarray(spots)
    picture.resize((128, 128), Image.Resampling.BICUBIC).save(file)
    return file


def test_look_alikes_of_held_out_photos_are_left_out_and_others_are_groups(tmp_path: Path) -> None:
    def item(name: str, seed: int, split: str, copies: int, colour: str = "") -> Item:
        paths = [f"{number}/{name}" for number in range(copies)]
        photos = tuple(Photo(path, "", split) for path in paths)
        return Item(name, drawn(tmp_path / name, seed, colour), "", split, photos)

    items = [
        item("train.png", 0, "train", 0), item("valid.png", 1, "valid", 0),
        item("like valid.jpg", 1, NEW, 3), item("b.png", 2, NEW, 1), item("like b.jpg", 2, NEW, 1),
        item("copied.png", 3, NEW, 2), item("like test.jpg", 4, NEW, 1),
        item("grey.png", 0, NEW, 2, "grey"), item("single.png", 5, NEW, 1),
    ]  # fmt: skip
    tests = [drawn(tmp_path / "test.png", 4)]
    config = typed(LabelConfig, composed("run=x", name="label"))
    left, groups, alike = without_look_alikes(items, tests, config)
    names = [one.content for one in left]
    assert names == [
        "train.png", "valid.png", "b.png", "like b.jpg", "copied.png", "grey.png", "single.png",
    ]  # fmt: skip
    assert [[names[row] for row in group] for group in groups] == [
        ["b.png", "like b.jpg"], ["copied.png"], ["grey.png"],
    ]  # fmt: skip
    assert alike == 4  # files
    config = config.model_copy(update={"near": None})
    assert without_look_alikes(items, tests, config) == (items, [[2], [5], [7]], 0)
