"""fastai's side: its own loaders, learner and one-cycle training, with its defaults."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torchvision
from fastai.callback.schedule import Learner  # importing it gives Learner its fit_one_cycle
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import FuncSplitter, Normalize
from fastai.metrics import error_rate
from fastai.torch_core import default_device, set_seed
from fastai.vision.augment import Resize, aug_transforms
from fastai.vision.data import ImageBlock
from fastai.vision.learner import vision_learner
from job import Job
from tell import Told, arithmetic, versions_of


def make_loaders(job: Job) -> DataLoaders:
    """The photos, augmented as in the lesson, normalised as the weights expect."""
    labels, valid = job.labels, dict(job.valid)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=list,
        get_y=lambda photo: labels[photo],
        splitter=FuncSplitter(lambda photo: photo in valid),
        item_tfms=Resize(job.presize),
        batch_tfms=[*aug_transforms(size=job.size), Normalize.from_stats(job.mean, job.std)],
    )
    return block.dataloaders(labels, bs=job.batch_size, num_workers=0)


def make_learner(job: Job) -> Learner:
    """The lesson's learner, its backbone from the job's file, frozen if the job says so."""
    own = job.library == "torchvision"
    arch = getattr(torchvision.models, job.model) if own else job.model
    learner = vision_learner(make_loaders(job), arch, pretrained=False, metrics=error_rate)
    if job.weights is not None:
        network = learner.model[0].model  # timm's, without its classifier
        tensors = torch.load(job.weights, weights_only=True)
        network.load_state_dict({k: v for k, v in tensors.items() if "classifier" not in k})
    # Without weights of its own choice vision_learner leaves everything unfrozen.
    if job.unfrozen:
        learner.unfreeze()
    else:
        learner.freeze()
    return learner


def main() -> None:
    """Train once, then print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path, help="the file that says what to do")
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    job = Job.load(asked.job)

    default_device(use=False)  # the CPU, also where there is something faster
    set_seed(asked.seed)
    learner = make_learner(job)
    with learner.no_bar(), learner.no_logging():
        began = time.perf_counter()
        if job.fine_tune:
            learner.fine_tune(job.epochs)
        else:
            rates = slice(job.lr / 100, job.lr) if job.unfrozen else slice(job.lr)
            learner.fit_one_cycle(job.epochs, rates)
        seconds = time.perf_counter() - began
    _, _, error = learner.recorder.values[-1]
    # An incomplete last batch is left out of the training, as in pets.
    trained = len(learner.dls.train) * job.batch_size
    Told(
        seconds,
        error,
        (trained, len(job.valid)),
        arithmetic(learner.model, job.size),
        torch.get_num_threads(),
        versions_of("fastai", "torch", "torchvision"),
    ).say()


if __name__ == "__main__":
    main()
