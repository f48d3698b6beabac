"""A stage trained in a process that is one of two ranks, for test_ranks.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from pets.data.prepare import prepare_photos
from pets.distributed.process_group import process_group
from pets.models.classifier import new_backbone
from pets.training.datamodule import PetsDataModule
from pets.training.module import ClassifierModule, new_model
from pets.training.stage import Inputs, Stage
from pets.training.trainer import build_trainer
from tests.conftest import train_config


def main(out: Path, overrides: list[str]) -> None:
    """Write the weights and statistics that this rank ends with."""
    config = train_config(*overrides)
    backbone, preprocess, _ = new_backbone(config.model, config.seed)
    photos = prepare_photos(config.data)
    plan = config.plan.stages["head"]
    stage = Stage.of_plan("head", plan, Inputs(config.size_of(plan)), config.seed)
    data = PetsDataModule(config.data, config.augment, preprocess, photos, stage.inputs, stage)
    model = new_model(config, backbone, preprocess, photos.classes)
    module = ClassifierModule(model, config, stage)
    with process_group():
        build_trainer(config.trainer, max_epochs=1).fit(module, data)
    torch.save({"network": module.state_dict(), "draw": torch.rand(3)}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
