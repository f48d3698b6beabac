"""The lr finder in a process that is one of two ranks, for test_mock_training.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pets.data.datamodule import PetsDataModule, prepare_photos
from pets.lr_finder.range_test import record
from pets.models.classifier import new_backbone
from pets.training.module import new_module
from tests.conftest import train_config


def main(out: Path, overrides: list[str]) -> None:
    """Write the curve and the photos that this rank drew."""
    config = train_config(*overrides)
    backbone, preprocess, _ = new_backbone(config.model, config.seed)
    photos = prepare_photos(config.data)
    module = new_module(config, backbone, preprocess, photos.classes)
    data = PetsDataModule(config.data, config.augment, preprocess, photos, config.seed)
    two = {**config.trainer, "accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    stage = config.plan.stages["head"]
    curve = record(module, data, "head", stage, config.lr_finder, two)
    found = {**curve.as_json(), "choice": curve.choose()}
    out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
