"""The plain side: a loop in the manner of torchvision's reference training of classifiers."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torchvision
from job import Job, Photos
from PIL import Image
from tell import Told, arithmetic, versions_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class PhotoFiles(Dataset[tuple[Tensor, int]]):
    """Photos and class numbers, as torchvision's ImageFolder gives them."""

    def __init__(self, photos: Photos, classes: list[str], transform: v2.Transform) -> None:
        self.photos = [(path, classes.index(label)) for path, label in photos]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        path, target = self.photos[place]
        with Image.open(path) as photo:
            return self.transform(photo.convert("RGB")), target


def make_loaders(job: Job) -> tuple[DataLoader[tuple[Tensor, int]], ...]:
    """The reference's presets: crop and flip for training, resize and centre crop to validate."""
    as_floats = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    as_floats += [v2.Normalize(job.mean, job.std)]
    crop = [v2.RandomResizedCrop(job.size), v2.RandomHorizontalFlip()]
    centre = [v2.Resize(round(job.size / 0.875)), v2.CenterCrop(job.size)]
    classes = sorted(set(job.labels.values()))
    train = PhotoFiles(job.train, classes, v2.Compose([*crop, *as_floats]))
    valid = PhotoFiles(job.valid, classes, v2.Compose([*centre, *as_floats]))
    return (
        DataLoader(train, job.batch_size, shuffle=True),
        DataLoader(valid, job.batch_size),
    )


def make_model(job: Job) -> nn.Module:
    """The network with the job's weights, frozen unless it says otherwise, and a new last layer."""
    if job.library == "torchvision":
        model = torchvision.models.get_model(job.model)
        name = "fc"
    else:
        import timm

        model = timm.create_model(job.model, pretrained=False)
        name = "classifier"
    if job.weights is not None:
        model.load_state_dict(torch.load(job.weights, weights_only=True))
    model.requires_grad_(job.unfrozen)
    last = nn.Linear(getattr(model, name).in_features, len(set(job.labels.values())))
    setattr(model, name, last)
    return model


def train(
    job: Job,
    model: nn.Module,
    loader: DataLoader[tuple[Tensor, int]],
    valid: DataLoader[tuple[Tensor, int]],
) -> float:
    """One cycle of Adam; returns the validation error after the last epoch."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=job.lr)
    steps = job.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, job.lr, total_steps=steps)
    loss_of = nn.CrossEntropyLoss()
    error = 1.0
    for _ in range(job.epochs):
        model.train()  # the frozen backbone's batch norms too, as in the reference
        for photos, targets in loader:
            loss = loss_of(model(photos), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        error = validate(model, valid)
    return error


@torch.inference_mode()
def validate(model: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> float:
    """The share of photos whose class is not the most likely one."""
    model.eval()
    wrong = total = 0
    for photos, targets in loader:
        wrong += int((model(photos).argmax(1) != targets).sum())
        total += len(targets)
    return wrong / total


def main() -> None:
    """Train once, then print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path, help="the file that says what to do")
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    job = Job.load(asked.job)

    torch.manual_seed(asked.seed)
    loaders, model = make_loaders(job), make_model(job)
    began = time.perf_counter()
    error = train(job, model, *loaders)
    seconds = time.perf_counter() - began
    Told(
        seconds,
        error,
        (len(job.train), len(job.valid)),
        arithmetic(model, job.size),
        torch.get_num_threads(),
        versions_of("torch", "torchvision"),
    ).say()


if __name__ == "__main__":
    main()
