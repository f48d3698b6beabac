"""The two comparisons' photos and networks."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from job import Job, Photos
from omegaconf import OmegaConf

from pets.config import ModelConfig
from pets.data.name_matching import PhotoNames
from pets.demo import BREEDS, draw_pets
from pets.models.weights import Pretrained, load_pretrained
from pets.system.installation import conf_dir

PIXELS = 288
VALID_SHARE = 8  # a validation photo for as many training photos
# What pets shrinks a photo to before it is turned and cropped: fastai gets no more pixels to move.
PRESIZE = math.ceil(Job.size * 1.1)


def speed_job(work: Path, count: int, epochs: int, model: str, unfrozen: bool) -> Job:
    """A network with random weights on drawn photos; in smaller batches if it is unfrozen."""
    root = drawn_photos(work, count)
    config = model_config(model, "none")
    found = load_pretrained(config).preprocess
    return Job(
        task="unfrozen" if unfrozen else "speed",
        train=in_folders(root / "train"),
        valid=in_folders(root / "valid"),
        library=config.library,
        model=config.name,
        weights=None,
        mean=found.mean,
        std=found.std,
        presize=PRESIZE,
        epochs=epochs,
        pets=["data=folder", f"data.root={root}", f"model={model}", "model.weights=none"],
        unfrozen=unfrozen,
        batch_size=16 if unfrozen else 32,
    )


def accuracy_job(work: Path, root: Path, epochs: int) -> Job:
    """EfficientNet-Lite0 with its packaged ImageNet weights on real photos, the official split."""
    config = model_config("efficientnet_lite0")
    pretrained = load_pretrained(config)
    return Job(
        task="accuracy",
        train=listed(root, "trainval.txt"),
        valid=listed(root, "test.txt"),
        library=config.library,
        model=config.name,
        weights=str(written(pretrained, work / "efficientnet_lite0.pth")),
        mean=pretrained.preprocess.mean,
        std=pretrained.preprocess.std,
        presize=PRESIZE,
        epochs=epochs,
        pets=[
            "data=oxford_pets", f"data.root={root}", "data.split=official",
            "model=efficientnet_lite0", f"model.weights={work / 'efficientnet_lite0.pth'}",
        ],
    )  # fmt: skip


def model_config(model: str, weights: str | None = None) -> ModelConfig:
    """The network as pets' config describes it."""
    words = [f"model={model}", *([f"model.weights={weights}"] if weights else [])]
    with initialize_config_dir(str(conf_dir()), version_base=None):
        values = OmegaConf.to_container(compose("train", words).model)
    return ModelConfig.model_validate(values)


def written(pretrained: Pretrained, file: Path) -> Path:
    """The network's tensors as a file: every side starts from exactly these."""
    torch.save(pretrained.network.state_dict(), file)
    return file


def listed(root: Path, name: str) -> Photos:
    """The photos of an official list; the breed is the file's name up to its number."""
    images = root / "images"
    names = PhotoNames(path.name for path in images.glob("*.jpg"))
    found = names.match_lines(root / "annotations" / name).photos.values()
    return [(str(images / path), path.rpartition("_")[0]) for path in found]


def in_folders(root: Path) -> Photos:
    """Photos below folders named by their labels."""
    return [(str(photo), photo.parent.name) for photo in sorted(root.glob("*/*.jpg"))]


def drawn_photos(work: Path, count: int) -> Path:
    """`count` drawn photos in train/<breed>/, an eighth as many in valid/<breed>/; drawn once."""
    root = work / f"drawn-{count}"
    if root.exists():
        return root
    total = count + math.ceil(count / VALID_SHARE)
    with tempfile.TemporaryDirectory(dir=work) as draft:
        draw_pets(Path(draft) / "drawn", per_breed=math.ceil(total / len(BREEDS)), size=PIXELS)
        # By number first: every breed gets into the training photos, none has many more.
        drawn = sorted(
            (Path(draft) / "drawn" / "images").iterdir(),
            key=lambda photo: (int(photo.stem.rpartition("_")[2]), photo.name),
        )
        for place, photo in enumerate(drawn[:total]):
            split = "train" if place < count else "valid"
            folder = Path(draft) / "sorted" / split / photo.stem.rpartition("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            photo.rename(folder / photo.name)
        (Path(draft) / "sorted").rename(root)
    return root
