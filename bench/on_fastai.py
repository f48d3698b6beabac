"""fastai's side: its own loaders, learner and one-cycle training, with its defaults."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastai.callback.core import Callback
from fastai.callback.schedule import Learner  # importing it gives Learner its fit_one_cycle
from fastai.data.transforms import Normalize
from fastai.torch_core import default_device
from fastai.vision.augment import Resize, aug_transforms
from fastai.vision.core import imagenet_stats
from fastai.vision.data import ImageDataLoaders
from fastai.vision.learner import vision_learner
from laps import Laps
from torchvision.models import resnet34


class EpochTimer(Callback):
    """Times the training part of every epoch: validation is not in it."""

    order = -100  # before all others, so that their work at an epoch's start is in it

    def __init__(self) -> None:
        self.laps = Laps()
        self.images = 0

    def before_train(self) -> None:
        self.images = 0
        self.laps.start()

    def after_batch(self) -> None:
        if self.training:
            self.images += len(self.xb[0])

    def after_train(self) -> None:
        self.laps.stop()


def make_learner(photos: Path, size: int, presize: int, batch_size: int) -> Learner:
    """The lesson's learner: ResNet-34 with random weights, photos augmented as in the lesson."""
    loaders = ImageDataLoaders.from_folder(
        photos,
        train="train",
        valid="valid",
        bs=batch_size,
        num_workers=0,
        item_tfms=Resize(presize),
        # A pretrained learner would add the normalisation itself; it belongs to the work.
        batch_tfms=[*aug_transforms(size=size), Normalize.from_stats(*imagenet_stats)],
    )
    return vision_learner(loaders, resnet34, pretrained=False)


def main() -> None:
    """Train once, then print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="folder with train/<label>/ and valid/<label>/")
    parser.add_argument("--body", choices=["frozen", "unfrozen"], required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--presize", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    asked = parser.parse_args()

    default_device(use=False)  # the CPU, also where there is something faster
    learner = make_learner(asked.photos, asked.size, asked.presize, asked.batch_size)
    # Without pretrained weights vision_learner leaves everything unfrozen.
    if asked.body == "frozen":
        learner.freeze()
    else:
        learner.unfreeze()
    timer = EpochTimer()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(asked.epochs, cbs=timer)
    print(timer.laps.as_json(timer.images, "fastai"), flush=True)


if __name__ == "__main__":
    main()
